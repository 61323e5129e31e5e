package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"regexp"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

var offsetID = regexp.MustCompile(`^[0-9A-F]{32}$`)

// startProducer starts a producer with connections of its own.
func startProducer(scenario string, more ...producer.Option) (rocketmq.Producer, error) {
	options := append([]producer.Option{
		producer.WithNameServer(namesrv),
		producer.WithGroupName(name(scenario + "-producers")),
		producer.WithInstanceName(name(scenario + "-p")),
		producer.WithSendMsgTimeout(15 * time.Second),
		producer.WithRetry(2),
	}, more...)
	p, err := rocketmq.NewProducer(options...)
	if err != nil {
		return nil, err
	}
	return p, p.Start()
}

func message(topic, tag, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body)).WithTag(tag).WithKeys([]string{body})
}

// sendAll sends `count` messages named prefix0… and returns their names.
func sendAll(p rocketmq.Producer, topic, tag, prefix string, count int) ([]string, error) {
	bodies := make([]string, 0, count)
	for i := range count {
		body := fmt.Sprintf("%s%d", prefix, i)
		result, err := p.SendSync(context.Background(), message(topic, tag, body))
		if err != nil {
			return nil, fmt.Errorf("sending %s: %w", body, err)
		}
		if result.Status != primitive.SendOK {
			return nil, fmt.Errorf("sending %s: status %v", body, result.Status)
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

func producing() {
	p, err := startProducer("producing")
	if err != nil {
		check("a producer starts", func() error { return err })
		return
	}
	defer p.Shutdown()
	topic := name("producing")
	var expected []string

	check("sync sends to a new topic are numbered per queue from 0 without gaps", func() error {
		next := map[primitive.MessageQueue]int64{}
		for i := range 40 {
			body := fmt.Sprintf("sync%d", i)
			result, err := p.SendSync(context.Background(), message(topic, "A", body))
			if err != nil {
				return err
			}
			queue := *result.MessageQueue
			if err := all(
				require(result.QueueOffset == next[queue], "queue offset %d, expected %d", result.QueueOffset, next[queue]),
				require(offsetID.MatchString(result.OffsetMsgID), "offset id %q", result.OffsetMsgID),
			); err != nil {
				return err
			}
			next[queue]++
			expected = append(expected, body)
		}
		return nil
	})
	check("async sends call back with success", func() error {
		var left sync.WaitGroup
		var mutex sync.Mutex
		var failures []error
		for i := range 100 {
			body := fmt.Sprintf("async%d", i)
			expected = append(expected, body)
			left.Add(1)
			err := p.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
				defer left.Done()
				if err == nil {
					err = require(result.Status == primitive.SendOK, "status %v", result.Status)
				}
				mutex.Lock()
				defer mutex.Unlock()
				failures = append(failures, err)
			}, message(topic, "A", body))
			if err != nil {
				return err
			}
		}
		left.Wait()
		return all(failures...)
	})
	check("one-way sends are taken", func() error {
		for i := range 30 {
			body := fmt.Sprintf("oneway%d", i)
			expected = append(expected, body)
			if err := p.SendOneWay(context.Background(), message(topic, "A", body)); err != nil {
				return err
			}
		}
		return nil
	})
	check("a batch is taken with one offset id per message", func() error {
		var batch []*primitive.Message
		for i := range 16 {
			body := fmt.Sprintf("batch%d", i)
			expected = append(expected, body)
			batch = append(batch, message(topic, "A", body))
		}
		result, err := p.SendSync(context.Background(), batch...)
		if err != nil {
			return err
		}
		return require(len(strings.Split(result.OffsetMsgID, ",")) == 16, "offset ids %q", result.OffsetMsgID)
	})
	check("everything sent in any way is consumed exactly once", func() error {
		received := newInbox()
		c, err := startPushConsumer("producing", "1", topic, "*", received)
		if err != nil {
			return err
		}
		defer c.Shutdown()
		return received.awaitExactly(expected)
	})
	check("bodies from 1 byte to 4 MiB, compressed and not, and properties come back", bodies)
}

func bodies() error {
	topic := name("bodies")
	plain, err := startProducer("bodies", producer.WithCompressMsgBodyOverHowmuch(1<<30))
	if err != nil {
		return err
	}
	defer plain.Shutdown()
	packing, err := startProducer("packing")
	if err != nil {
		return err
	}
	defer packing.Shutdown()

	sent := map[string][]byte{}
	for _, size := range []int{1, 100, 4095, 4096, 5000, 65536, 1 << 20, 4 << 20} {
		noise := make([]byte, size)
		rand.New(rand.NewSource(int64(size))).Read(noise)
		text := bytes.Repeat([]byte("a"), size)
		for kind, body := range map[string][]byte{"noise": noise, "text": text} {
			p := packing
			if kind == "noise" {
				p = plain
			}
			key := fmt.Sprintf("%s%d", kind, size)
			m := primitive.NewMessage(topic, body).WithKeys([]string{key})
			m.WithProperty("umlaut", "äöü 漢字")
			if _, err := p.SendSync(context.Background(), m); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			sent[key] = body
		}
	}
	got := make(chan error, 100)
	c, err := newPushConsumer("bodies", "1")
	if err != nil {
		return err
	}
	err = c.Subscribe(topic, consumer.MessageSelector{}, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			got <- all(
				require(bytes.Equal(m.Body, sent[m.GetKeys()]), "the body of %s differs", m.GetKeys()),
				require(m.GetProperty("umlaut") == "äöü 漢字", "property %q", m.GetProperty("umlaut")),
			)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err = all(err, c.Start()); err != nil {
		return err
	}
	defer c.Shutdown()
	for i := range len(sent) {
		select {
		case err := <-got:
			if err != nil {
				return err
			}
		case <-time.After(waitMax):
			return fmt.Errorf("only %d of %d came back", i, len(sent))
		}
	}
	return nil
}
