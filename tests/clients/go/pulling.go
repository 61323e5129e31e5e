package main

import (
	"context"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func startPullConsumer(group, member, topic string) (rocketmq.PullConsumer, error) {
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(namesrv),
		consumer.WithGroupName(name(group+"-pullers")),
		consumer.WithInstance(name(group+"-"+member)),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	if err != nil {
		return nil, err
	}
	if err := c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}); err != nil {
		return nil, err
	}
	return c, c.Start()
}

func pulling() {
	topic := name("pulling")
	p, err := startProducer("pulling")
	if err != nil {
		check("a producer starts", func() error { return err })
		return
	}
	defer p.Shutdown()
	queue, count := primitive.MessageQueue{}, 0
	bodies := []string{}
	for i := range 40 {
		result, err := p.SendSync(context.Background(), message(topic, "T", fmt.Sprint("pull", i)))
		if err != nil {
			check("messages to pull are taken", func() error { return err })
			return
		}
		bodies = append(bodies, fmt.Sprint("pull", i))
		if count == 0 || queue == *result.MessageQueue {
			queue = *result.MessageQueue
			count++
		}
	}

	check("a pull consumer polls and acknowledges everything once", func() error {
		c, err := startPullConsumer("polled", "1", topic)
		if err != nil {
			return err
		}
		defer c.Shutdown()
		received := newInbox()
		err = await("all polled", func() bool {
			request, err := c.Poll(context.Background(), 200*time.Millisecond)
			if err == nil {
				for _, m := range request.GetMsgList() {
					received.add(string(m.Body))
				}
				c.ACK(context.Background(), request, consumer.ConsumeSuccess)
			}
			return received.has(bodies)
		})
		if err != nil {
			return err
		}
		return received.awaitExactly(bodies)
	})
	check("a pull from a given offset brings that queue's messages from there on", func() error {
		c, err := startPullConsumer("pulled", "1", topic)
		if err != nil {
			return err
		}
		defer c.Shutdown()
		result, err := c.PullFrom(context.Background(), &queue, 2, 32)
		if err != nil {
			return err
		}
		found := result.GetMessageExts()
		if err := all(
			require(result.Status == primitive.PullFound, "status %v", result.Status),
			require(len(found) == count-2, "%d messages, %d lie there", len(found), count-2),
			require(result.NextBeginOffset == int64(count), "next %d", result.NextBeginOffset),
		); err != nil {
			return err
		}
		for i, m := range found {
			if m.QueueOffset != int64(i+2) {
				return fmt.Errorf("message %d has queue offset %d", i, m.QueueOffset)
			}
		}
		return nil
	})
	check("the next consumer of a group begins at the offset the last one persisted", func() error {
		c, err := startPullConsumer("kept", "1", topic)
		if err != nil {
			return err
		}
		// What it polls shows that the queue is its own; only then are offsets kept.
		_, err = firstPolled(c, queue)
		err = all(err, c.UpdateOffset(&queue, 3), c.PersistOffset(context.Background(), topic), c.Shutdown())
		if err != nil {
			return err
		}
		next, err := startPullConsumer("kept", "2", topic)
		if err != nil {
			return err
		}
		defer next.Shutdown()
		offset, err := firstPolled(next, queue)
		return all(err, require(offset == 3, "it began at %d", offset))
	})
}

// firstPolled is the queue offset of the first message polled from this queue.
func firstPolled(c rocketmq.PullConsumer, queue primitive.MessageQueue) (offset int64, err error) {
	err = await("a message of the queue polled", func() bool {
		request, err := c.Poll(context.Background(), 200*time.Millisecond)
		if err != nil || *request.GetMQ() != queue {
			return false
		}
		offset = request.GetMsgList()[0].QueueOffset
		return true
	})
	return offset, err
}
