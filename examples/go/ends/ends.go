// Package ends finds the offsets up to which a subscriber must read to have all records.
package ends

import (
	"cmp"
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Of returns the end offset of each partition of a topic that has records now. Records after the
// start of an open transaction do not count. The record before an end may be a control record, so
// the client needs the options ReadCommitted and KeepControlRecords.
func Of(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err := cmp.Or(err, starts.Error()); err != nil {
		return nil, err
	}
	listed, err := admin.ListCommittedOffsets(ctx, topic)
	if err := cmp.Or(err, listed.Error()); err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	listed.Each(func(end kadm.ListedOffset) {
		if start, isKnown := starts.Lookup(topic, end.Partition); !isKnown || start.Offset < end.Offset {
			ends[end.Partition] = end.Offset
		}
	})
	return ends, nil
}
