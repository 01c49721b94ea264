// conformance runs the conformance vectors of a folder, and prints the number of passed vectors.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"reflect"

	"customer-stream-subscriber/contract"
	"customer-stream-subscriber/normalise"

	"github.com/twmb/franz-go/pkg/kgo"
)

// vector has the members of all kinds of vectors. Each file uses some of these members.
type vector struct {
	Name        string
	A, B        contract.Version
	BodyBase64  []byte
	ValueBase64 []byte
	ContentType string
	ReceivedAt  *int64
	Document    string
	AppliedAt   int64
	Projection  int
	Key         string
	Partitions  int
	Kind        string
	Input       string
	Country     string
}

func versionOrReason(version contract.Version, err error) any {
	var unusable contract.ErrUnusable
	if errors.As(err, &unusable) {
		return unusable.Error()
	}
	return version
}

func compare(v vector) any {
	switch order := v.A.Compare(v.B); {
	case order < 0:
		return -1
	case order > 0:
		return 1
	}
	return 0
}

func read(v vector) any {
	receivedAt := int64(math.MaxInt64)
	if v.ReceivedAt != nil {
		receivedAt = *v.ReceivedAt
	}
	event, err := contract.ReadEvent(v.BodyBase64, v.ContentType, receivedAt)
	return versionOrReason(event.Version, err)
}

func state(v vector) any {
	state, err := contract.ReadState(v.ValueBase64)
	return versionOrReason(state.Version, err)
}

func hash(v vector) any {
	state, err := contract.ReadState([]byte(v.Document))
	if err != nil {
		return err.Error()
	}
	return contract.HashOf(state, v.AppliedAt, v.Projection)
}

// partition asks the partitioner of franz-go's producer, which uses murmur2 as Java's client does.
func partition(v vector) any {
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("topic")
	return partitioner.Partition(&kgo.Record{Key: []byte(v.Key)}, v.Partitions)
}

// term returns nil if there is no term.
func term(v vector) any {
	text := ""
	switch v.Kind {
	case "phone":
		text = normalise.Phone(v.Input, v.Country)
	case "email":
		text = normalise.Email(v.Input)
	case "vin":
		text = normalise.VIN(v.Input)
	}
	if text == "" {
		return nil
	}
	return text
}

var runs = []struct {
	file     string
	run      func(vector) any
	expected string
}{
	{"compare", compare, "compare"},
	{"read", read, "expect"},
	{"state", state, "expect"},
	{"hash", hash, "hash"},
	{"partition", partition, "partition"},
	{"normalise", term, "expect"},
}

// plain converts a value to JSON and back, so that two values can be compared.
func plain(value any) (read any) {
	text, err := json.Marshal(value)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		log.Fatal(err)
	}
	return read
}

func main() {
	passed, failed := 0, 0
	for _, each := range runs {
		text, err := os.ReadFile(filepath.Join(os.Args[1], each.file+".json"))
		if err != nil {
			log.Fatal(err)
		}
		var vectors []vector
		var expected []map[string]any
		if err := errors.Join(json.Unmarshal(text, &vectors), json.Unmarshal(text, &expected)); err != nil {
			log.Fatal(err)
		}
		for i, v := range vectors {
			found, wanted := plain(each.run(v)), expected[i][each.expected]
			if reflect.DeepEqual(found, wanted) {
				passed++
				continue
			}
			failed++
			log.Printf("%s: %s%s%s: %v instead of %v", each.file, v.Name, v.Key, v.Input, found, wanted)
		}
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
