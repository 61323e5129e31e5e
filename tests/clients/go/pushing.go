package main

import (
	"context"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func newPushConsumer(group, member string) (rocketmq.PushConsumer, error) {
	return rocketmq.NewPushConsumer(
		consumer.WithNameServer(namesrv),
		consumer.WithGroupName(name(group+"-consumers")),
		consumer.WithInstance(name(group+"-"+member)),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
		consumer.WithConsumerModel(consumer.Clustering),
	)
}

// startPushConsumer starts a member of a group that puts what it gets into `received`.
func startPushConsumer(group, member, topic, tags string, received *inbox) (rocketmq.PushConsumer, error) {
	c, err := newPushConsumer(group, member)
	if err != nil {
		return nil, err
	}
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: tags}
	err = c.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			received.add(string(m.Body))
		}
		return consumer.ConsumeSuccess, nil
	})
	return c, all(err, c.Start())
}

func pushing() {
	topic := name("pushing")
	p, err := startProducer("pushing")
	if err != nil {
		check("a producer starts", func() error { return err })
		return
	}
	defer p.Shutdown()
	var everything, chosen []string
	for _, tag := range []string{"A", "B", "C"} {
		bodies, err := sendAll(p, topic, tag, tag, 20)
		if err != nil {
			check("messages with tags are taken", func() error { return err })
			return
		}
		everything = append(everything, bodies...)
		if tag != "C" {
			chosen = append(chosen, bodies...)
		}
	}

	some := newInbox()
	filtered, err := startPushConsumer("filtered", "1", topic, "A || B", some)
	check("a push consumer of A || B gets those and no others", func() error {
		return all(err, some.awaitExactly(chosen))
	})
	whole := newInbox()
	unfiltered, err := startPushConsumer("unfiltered", "1", topic, "*", whole)
	check("a push consumer of * gets everything once", func() error {
		return all(err, whole.awaitExactly(everything))
	})
	check("what is sent while consumers wait reaches them promptly", func() error {
		bodies, err := sendAll(p, topic, "A", "late", 5)
		if err != nil {
			return err
		}
		everything, chosen = append(everything, bodies...), append(chosen, bodies...)
		begun := time.Now()
		if err := all(whole.awaitExactly(everything), some.awaitExactly(chosen)); err != nil {
			return err
		}
		return require(time.Since(begun) < 4*time.Second, "it took %v", time.Since(begun))
	})
	check("a group that stopped goes on where it was", func() error {
		// Shutdown hands the offsets to the broker; a message counts a moment
		// after its listener has returned.
		err := await("all counted as consumed", func() bool { return unfiltered.GetOffsetDiffMap()[topic] == 0 })
		if err = all(err, unfiltered.Shutdown()); err != nil {
			return err
		}
		missed, err := sendAll(p, topic, "A", "missed", 10)
		if err != nil {
			return err
		}
		fresh := newInbox()
		again, err := startPushConsumer("unfiltered", "2", topic, "*", fresh)
		if err != nil {
			return err
		}
		defer again.Shutdown()
		return fresh.awaitExactly(missed)
	})
	filtered.Shutdown()
}
