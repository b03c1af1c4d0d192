// Keeps a copy of the tables in another PostgreSQL database (copy.sql), changed by one event after the other.
//
//	NATS_URL=… COPY=postgres://… go run . ordered   the sequence is stored with the data
//	NATS_URL=… COPY=postgres://… go run . durable   a durable consumer with one message under way
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var streamName = cmp.Or(os.Getenv("STREAM"), "DITTO")

func main() {
	ctx := context.Background()
	client, err := nats.Connect(os.Getenv("NATS_URL"))
	check(err)
	js, err := jetstream.New(client)
	check(err)
	stream, err := js.Stream(ctx, streamName)
	check(err)
	db, err := pgx.Connect(ctx, os.Getenv("COPY"))
	check(err)
	copy := &Copy{db: db, created: stream.CachedInfo().Created.Format(time.RFC3339Nano)}

	var consumer jetstream.Consumer
	if os.Args[1] == "ordered" {
		sequence, err := copy.Sequence(ctx)
		check(err)
		// All tables in one consumer: several would overtake each other.
		consumer, err = stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:   sequence + 1,
		})
		check(err)
	} else {
		consumer, err = stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       "copy",
			AckPolicy:     jetstream.AckExplicitPolicy,
			AckWait:       ackWait(), // longer than the slowest message takes
			MaxAckPending: 1,         // without it, messages overtake one that is delivered again
			MaxDeliver:    -1,        // never give a message up
		})
		check(err)
	}
	messages, err := consumer.Messages()
	check(err)
	fmt.Println("following")
	for {
		message, err := messages.Next()
		check(err)
		metadata, err := message.Metadata()
		check(err)
		check(copy.Store(ctx, metadata.Sequence.Stream, message.Data()))
		if os.Args[1] == "durable" {
			// After the commit: a process that ends in between gets the message again.
			check(message.Ack())
		}
	}
}

func ackWait() time.Duration {
	if wait, err := time.ParseDuration(os.Getenv("ACK_WAIT_S") + "s"); err == nil {
		return wait
	}
	return 30 * time.Second
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
