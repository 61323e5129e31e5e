package main

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	waitMax   = 60 * time.Second
	lookEvery = 20 * time.Millisecond
)

var passed, failed atomic.Int32

// check runs one body and prints one line: ok, or FAIL and why.
func check(sentence string, body func() error) {
	begun := time.Now()
	err := guarded(body)
	if err != nil {
		failed.Add(1)
		fmt.Printf("FAIL go: %s: %v\n", sentence, err)
		return
	}
	passed.Add(1)
	took := ""
	if seconds := time.Since(begun).Seconds(); seconds >= 3 {
		took = fmt.Sprintf(" (%.0f s)", seconds)
	}
	fmt.Printf("ok go: %s%s\n", sentence, took)
}

func guarded(body func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic: %v", panicked)
		}
	}()
	return body()
}

// await looks until the condition holds; bounded.
func await(what string, condition func() bool) error {
	deadline := time.Now().Add(waitMax)
	for !condition() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", waitMax, what)
		}
		time.Sleep(lookEvery)
	}
	return nil
}

func require(holds bool, format string, values ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, values...)
}

func all(errs ...error) error {
	return errors.Join(errs...)
}

// inbox counts what consumers received, by message body.
type inbox struct {
	mutex  sync.Mutex
	counts map[string]int
}

func newInbox() *inbox {
	return &inbox{counts: map[string]int{}}
}

func (in *inbox) add(body string) {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	in.counts[body]++
}

func (in *inbox) has(bodies []string) bool {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	for _, body := range bodies {
		if in.counts[body] == 0 {
			return false
		}
	}
	return true
}

// count is how many of these were received, each counted as often as it came.
func (in *inbox) count(bodies []string) int {
	in.mutex.Lock()
	defer in.mutex.Unlock()
	sum := 0
	for _, body := range bodies {
		sum += in.counts[body]
	}
	return sum
}

// awaitExactly waits for all of these and requires that nothing else and nothing twice came.
func (in *inbox) awaitExactly(bodies []string) error {
	if err := await(fmt.Sprintf("%d messages consumed", len(bodies)), func() bool { return in.has(bodies) }); err != nil {
		return fmt.Errorf("%w; seen %d", err, in.count(bodies))
	}
	in.mutex.Lock()
	defer in.mutex.Unlock()
	for body, times := range in.counts {
		if times != 1 {
			return fmt.Errorf("%q consumed %d times", body, times)
		}
	}
	return require(len(in.counts) == len(bodies), "consumed %d messages, asked for %d", len(in.counts), len(bodies))
}
