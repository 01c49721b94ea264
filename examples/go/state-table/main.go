// state-table keeps a table of all customers in memory, from the state topic. The program reads the
// whole topic at each start, so it needs no group and no store that could disagree with the topic.
// Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX. With UNTIL_END=1 the
// program reads all partitions to their end, prints all customers, and ends.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"customer-stream-subscriber/contract"
	"customer-stream-subscriber/ends"

	"github.com/twmb/franz-go/pkg/kgo"
)

type table map[string]contract.State

// apply applies one record. It returns an error if another program wrote the record.
func (customers table) apply(record *kgo.Record) error {
	if record.Attrs.IsControl() {
		return nil
	}
	uuid := string(record.Key)
	if record.Value == nil {
		delete(customers, uuid) // a tombstone: the customer was erased
		return nil
	}
	state, err := contract.ReadState(record.Value)
	if err != nil {
		return err
	}
	if state.CustomerUUID != uuid {
		return contract.ErrUnusable("wrong-key")
	}
	// Compare versions, because an older document may follow a newer document.
	if held, isHeld := customers[uuid]; !isHeld || state.Version.Compare(held.Version) >= 0 {
		customers[uuid] = state
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	topic := cmp.Or(os.Getenv("KAFKA_TOPIC_PREFIX"), "mykaarma.") + "customers.state"
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("KAFKA_BROKERS"), "localhost:9092"), ",")...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		// Skip the records of aborted transactions. The end of a partition may be a control record.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		// Return fetch errors, because the client would retry and hide them.
		kgo.KeepRetryableFetchErrors(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	// Partitions that are not read yet, with their end offsets.
	behind, err := ends.Of(ctx, client, topic)
	if err != nil {
		log.Fatal(err)
	}

	customers := table{}
	for isComplete := false; ; {
		if !isComplete && len(behind) == 0 {
			isComplete = true
			log.Printf("complete: %d customers", len(customers))
			if os.Getenv("UNTIL_END") == "1" {
				break
			}
		}
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, failed := range fetches.Errors() {
			log.Printf("%s/%d: %v", failed.Topic, failed.Partition, failed.Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if err := customers.apply(record); err != nil {
				log.Printf("skipped %s/%d/%d: %v", topic, record.Partition, record.Offset, err)
			}
			if record.Offset+1 >= behind[record.Partition] {
				delete(behind, record.Partition)
			}
		})
	}
	for _, state := range customers {
		fmt.Printf("%s\n", state.Document)
	}
}
