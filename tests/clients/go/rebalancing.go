package main

import (
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
)

// rebalancing: a second consumer shares the queues, and takes all when the first leaves.
func rebalancing() {
	topic := name("rebalancing")
	p, err := startProducer("rebalancing")
	if err != nil {
		check("a producer starts", func() error { return err })
		return
	}
	defer p.Shutdown()
	var first, second rocketmq.PushConsumer
	one, two := newInbox(), newInbox()

	check("one of a group gets everything", func() error {
		bodies, err := sendAll(p, topic, "T", "one", 40)
		if err != nil {
			return err
		}
		if first, err = startPushConsumer("shared", "1", topic, "*", one); err != nil {
			return err
		}
		return one.awaitExactly(bodies)
	})
	if first == nil {
		return
	}
	check("a second one shares the queues and every message is consumed exactly once", func() error {
		var err error
		if second, err = startPushConsumer("shared", "2", topic, "*", two); err != nil {
			return err
		}
		if err := settled(p, topic, one, two); err != nil {
			return err
		}
		return exactlyOnce(p, topic, "two", one, two)
	})
	check("when the first leaves, the second gets everything", func() error {
		if err := first.Shutdown(); err != nil {
			return err
		}
		if err := settled(p, topic, two); err != nil {
			return err
		}
		return exactlyOnce(p, topic, "left", two)
	})
	if second != nil {
		second.Shutdown()
	}
}

// settled sends rounds until a whole round is consumed once and by all members.
func settled(p rocketmq.Producer, topic string, members ...*inbox) error {
	deadline := time.Now().Add(waitMax)
	for round := 0; time.Now().Before(deadline); round++ {
		bodies, err := sendAll(p, topic, "T", fmt.Sprintf("settle%d-%d-", len(members), round), 24)
		if err != nil {
			return err
		}
		sum, all := 0, true
		err = await("a round consumed", func() bool {
			sum, all = 0, true
			for _, member := range members {
				count := member.count(bodies)
				sum, all = sum+count, all && count > 0
			}
			return sum >= len(bodies)
		})
		if err != nil {
			return err
		}
		if sum == len(bodies) && all {
			return nil
		}
	}
	return fmt.Errorf("the group did not settle within %v", waitMax)
}

func exactlyOnce(p rocketmq.Producer, topic, prefix string, members ...*inbox) error {
	bodies, err := sendAll(p, topic, "T", prefix, 60)
	if err != nil {
		return err
	}
	sum := 0
	err = await("all consumed", func() bool {
		sum = 0
		for _, member := range members {
			sum += member.count(bodies)
		}
		return sum >= len(bodies)
	})
	if err != nil {
		return fmt.Errorf("%w; %d of %d", err, sum, len(bodies))
	}
	for _, body := range bodies {
		times := 0
		for _, member := range members {
			times += member.count([]string{body})
		}
		if times != 1 {
			return fmt.Errorf("%s consumed %d times", body, times)
		}
	}
	return nil
}
