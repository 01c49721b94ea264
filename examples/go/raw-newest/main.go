// raw-newest keeps the newest event of each customer in a file, from the raw topic. Events repeat
// and come in any order, so the program stores the version with the state, and only a newer event
// replaces the state. The position is stored in the same transaction, so a crash loses no event and
// repeats no event. Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX,
// GROUP_ID, STATE (a file). With UNTIL_END=1 the program reads all partitions to their end, prints
// all customers, and ends.
package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"customer-stream-subscriber/contract"
	"customer-stream-subscriber/ends"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.etcd.io/bbolt"
)

var (
	customers = []byte("customers")
	positions = []byte("positions")
)

// stored is the state of one customer. Version decides whether an event replaces this state.
type stored struct {
	CustomerUUID string           `json:"customerUuid"`
	Version      contract.Version `json:"version"`
	State        state            `json:"state"`
}

type state struct {
	DealerUUID           json.RawMessage `json:"dealerUuid"`
	DepartmentUUID       json.RawMessage `json:"departmentUuid"`
	CustomerWithVehicles json.RawMessage `json:"customerWithVehicles"`
}

func contentTypeOf(record *kgo.Record) string {
	for _, header := range record.Headers {
		if header.Key == "content-type" {
			return string(header.Value)
		}
	}
	return ""
}

// apply stores the event of a record if the event is newer than the stored event. An error other
// than contract.ErrUnusable comes from the store.
func apply(bucket *bbolt.Bucket, record *kgo.Record) error {
	if record.Attrs.IsControl() {
		return nil
	}
	event, err := contract.ReadEvent(record.Value, contentTypeOf(record), record.Timestamp.UnixMilli())
	if err != nil {
		return err
	}
	key := []byte(event.CustomerUUID)
	if text := bucket.Get(key); text != nil {
		var held stored
		if err := json.Unmarshal(text, &held); err != nil {
			return err
		}
		if event.Version.Compare(held.Version) <= 0 {
			return nil
		}
	}
	newest := state{event.DealerUUID, event.DepartmentUUID, event.CustomerWithVehicles}
	text, err := json.Marshal(stored{event.CustomerUUID, event.Version, newest})
	if err != nil {
		return err
	}
	return bucket.Put(key, text)
}

func positionKey(topic string, partition int32) []byte {
	return fmt.Appendf(nil, "%s/%d", topic, partition)
}

// applyAll applies records and moves the positions, in one transaction.
func applyAll(store *bbolt.DB, records []*kgo.Record) error {
	return store.Update(func(tx *bbolt.Tx) error {
		for _, record := range records {
			err := apply(tx.Bucket(customers), record)
			if unusable, isUnusable := err.(contract.ErrUnusable); isUnusable {
				// Skip the record, because it can never be used. Quarantine has a copy.
				log.Printf("skipped %s/%d/%d: %v", record.Topic, record.Partition, record.Offset, unusable)
			} else if err != nil {
				return err
			}
			next := binary.BigEndian.AppendUint64(nil, uint64(record.Offset+1))
			if err := tx.Bucket(positions).Put(positionKey(record.Topic, record.Partition), next); err != nil {
				return err
			}
		}
		return nil
	})
}

func openStore(file string) (*bbolt.DB, error) {
	store, err := bbolt.Open(file, 0o600, nil)
	if err != nil {
		return nil, err
	}
	return store, store.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(customers)
		_, other := tx.CreateBucketIfNotExists(positions)
		return cmp.Or(err, other)
	})
}

// offsets are the next offsets, by topic and partition.
type offsets = map[string]map[int32]kgo.Offset

// seekToStored replaces the group's committed offsets with the offsets of the store.
func seekToStored(store *bbolt.DB, topic string) func(context.Context, offsets) (offsets, error) {
	return func(_ context.Context, assigned offsets) (offsets, error) {
		return assigned, store.View(func(tx *bbolt.Tx) error {
			for partition := range assigned[topic] {
				offset := kgo.NewOffset().AtStart()
				if next := tx.Bucket(positions).Get(positionKey(topic, partition)); next != nil {
					offset = kgo.NewOffset().At(int64(binary.BigEndian.Uint64(next)))
				}
				assigned[topic][partition] = offset
			}
			return nil
		})
	}
}

// hasRead is true if the store's positions have reached the ends.
func hasRead(store *bbolt.DB, topic string, ends map[int32]int64) (isDone bool, err error) {
	isDone = true
	err = store.View(func(tx *bbolt.Tx) error {
		for partition, end := range ends {
			next := tx.Bucket(positions).Get(positionKey(topic, partition))
			isDone = isDone && next != nil && int64(binary.BigEndian.Uint64(next)) >= end
		}
		return nil
	})
	return isDone, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	topic := cmp.Or(os.Getenv("KAFKA_TOPIC_PREFIX"), "mykaarma.") + "customers.raw"
	store, err := openStore(cmp.Or(os.Getenv("STATE"), "customers.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(cmp.Or(os.Getenv("KAFKA_BROKERS"), "localhost:9092"), ",")...),
		kgo.ConsumerGroup(cmp.Or(os.Getenv("GROUP_ID"), "raw-newest")),
		kgo.ConsumeTopics(topic),
		kgo.DisableAutoCommit(),
		// Skip the records of aborted transactions. The end of a partition may be a control record.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.AdjustFetchOffsetsFn(seekToStored(store, topic)),
		// If retention has removed the record at the position, continue at the oldest record.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	now, err := ends.Of(ctx, client, topic)
	if err != nil {
		log.Fatal(err)
	}
	for {
		isDone, err := hasRead(store, topic, now)
		if err != nil {
			log.Fatal(err)
		}
		if isDone && os.Getenv("UNTIL_END") == "1" {
			break
		}
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		for _, failed := range fetches.Errors() {
			log.Printf("%s/%d: %v", failed.Topic, failed.Partition, failed.Err)
		}
		if err := applyAll(store, fetches.Records()); err != nil {
			log.Fatal(err) // start again later: the position has not moved
		}
	}
	err = store.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(customers).ForEach(func(_, text []byte) error {
			_, err := fmt.Printf("%s\n", text)
			return err
		})
	})
	if err != nil {
		log.Fatal(err)
	}
}
