// The Go client of the foreign-client judge: an unmodified
// rocketmq-client-go against the name server given as the only argument.
package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const wholeRunMax = 5 * time.Minute

var (
	namesrv primitive.NamesrvAddr
	// run keeps the names of this run apart from those of other runs.
	run = fmt.Sprintf("go-%x", time.Now().UnixMilli())
)

func name(part string) string {
	return part + "-" + run
}

func main() {
	if len(os.Args) < 2 {
		fmt.Println("usage: judge HOST:PORT")
		os.Exit(2)
	}
	var err error
	if namesrv, err = primitive.NewNamesrvAddr(os.Args[1]); err != nil {
		fmt.Println("FAIL go: the address of the name server:", err)
		os.Exit(2)
	}
	rlog.SetLogLevel("error")
	if err := rlog.SetOutputPath(os.DevNull); err != nil {
		fmt.Println("the client's log:", err)
	}
	time.AfterFunc(wholeRunMax, func() {
		fmt.Printf("FAIL go: all scenarios end within %v: some did not\n", wholeRunMax)
		os.Exit(1)
	})

	scenarios := map[string]func(){
		"producing": producing, "pushing": pushing, "rebalancing": rebalancing, "pulling": pulling,
	}
	var running sync.WaitGroup
	for title, scenario := range scenarios {
		if len(os.Args) > 2 && os.Args[2] != title {
			continue
		}
		running.Add(1)
		go func() {
			defer running.Done()
			scenario()
		}()
	}
	running.Wait()
	fmt.Printf("%d passed, %d failed\n", passed.Load(), failed.Load())
	if failed.Load() > 0 || passed.Load() == 0 {
		os.Exit(1)
	}
}
