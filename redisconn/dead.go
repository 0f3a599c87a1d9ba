package redisconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
)

// A DeadList is the jsonrpc2.DeadList of a queue: it holds the requests that were given up
// after ListenOptions.MaxAttempts starts, at most ListenOptions.MaxDead of them. Len, and a
// List of a few requests, cost Redis the same however many requests wait or are dead. The
// Handle of a request is its entry in the list. Errors wrap those of Redis. Any goroutine may
// call the methods.
type DeadList struct {
	rdb   redis.UniversalClient
	queue string
	list  string
}

var _ jsonrpc2.DeadList = (*DeadList)(nil)

// NewDeadList returns the DeadList of a queue. It does not connect.
func NewDeadList(rdb redis.UniversalClient, queue string) *DeadList {
	return &DeadList{rdb: rdb, queue: queue, list: ownPrefix(queue) + "dead"}
}

// Len implements jsonrpc2.DeadList.
func (d *DeadList) Len(ctx context.Context) (int, error) {
	n, err := d.rdb.LLen(ctx, d.list).Result()
	if err != nil {
		return 0, d.failed("length", err)
	}
	return int(n), nil
}

// List implements jsonrpc2.DeadList.
func (d *DeadList) List(ctx context.Context, n int) ([]jsonrpc2.DeadRequest, error) {
	last := int64(n) - 1
	switch {
	case n == 0:
		return nil, nil
	case n < 0:
		last = -1
	}
	entries, err := d.rdb.LRange(ctx, d.list, 0, last).Result()
	if err != nil {
		return nil, d.failed("list", err)
	}
	dead := make([]jsonrpc2.DeadRequest, len(entries))
	for i, entry := range entries {
		dead[i] = parseDead(entry)
	}
	return dead, nil
}

// parseDead parses an entry: a line of JSON, and the request as it was. If somebody else has
// written a broken entry, its Reason says what is wrong: so it can be seen and deleted.
func parseDead(entry string) jsonrpc2.DeadRequest {
	var header struct {
		Time     int64  `json:"time"`
		Attempts int    `json:"attempts"`
		Reason   string `json:"reason"`
	}
	line, request, ok := strings.Cut(entry, "\n")
	err := json.Unmarshal([]byte(line), &header)
	switch {
	case err != nil:
		header.Reason = err.Error()
	case !ok:
		header.Reason = "the entry ends with its header"
	}
	dead := jsonrpc2.DeadRequest{
		Attempts: header.Attempts,
		Reason:   header.Reason,
		Request:  []byte(request),
		Handle:   entry,
	}
	if header.Time != 0 {
		dead.Time = time.UnixMilli(header.Time)
	}
	return dead
}

// requeueScript moves a request back into the queue, to be served last. If the queue is no
// list, LLEN fails before anything has changed: an entry that can't be pushed must not be
// removed.
var requeueScript = newScript(`#!lua flags=allow-oom
redis.call('LLEN', KEYS[2])
local removed = redis.call('LREM', KEYS[1], 1, ARGV[1])
if removed == 1 then redis.call('LPUSH', KEYS[2], ARGV[2]) end
return removed`)

// Requeue implements jsonrpc2.DeadList. It removes the deadlines. The callers have long got an
// error and do not wait for the answers. A request that is no JSON stays in the list, and adds
// an error to the one that is returned; the others are moved. An error of Redis ends Requeue.
func (d *DeadList) Requeue(ctx context.Context, dead ...jsonrpc2.DeadRequest) (moved int, err error) {
	var broken []error
	for _, r := range dead {
		request, err := withoutDeadline(parseDead(r.Handle).Request)
		if err != nil {
			broken = append(broken, d.failed("requeue", err))
			continue
		}
		n, err := requeueScript.runOnce(ctx, d.rdb, []string{d.list, d.queue}, r.Handle, request).Int()
		if err != nil {
			return moved, errors.Join(append(broken, d.failed("requeue", err))...)
		}
		moved += n
	}
	return moved, errors.Join(broken...)
}

// withoutDeadline returns a request, or a batch, without its members deadline_ms.
func withoutDeadline(request []byte) ([]byte, error) {
	if !json.Valid(request) {
		return nil, errors.New("the request is no JSON")
	}
	var items []json.RawMessage
	if json.Unmarshal(request, &items) != nil {
		return itemWithoutDeadline(request)
	}
	for i := range items {
		var err error
		if items[i], err = itemWithoutDeadline(items[i]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(items)
}

// itemWithoutDeadline returns an item without its deadline. It returns what is no object, or
// has no deadline, as it is.
func itemWithoutDeadline(item []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(item, &members)
	if _, ok := members["deadline_ms"]; !ok {
		return item, nil
	}
	delete(members, "deadline_ms")
	return json.Marshal(members)
}

// Delete implements jsonrpc2.DeadList.
func (d *DeadList) Delete(ctx context.Context, dead ...jsonrpc2.DeadRequest) (removed int, err error) {
	for _, r := range dead {
		lrem := newUnrepeated(ctx, "lrem", d.list, 1, r.Handle)
		_ = d.rdb.Process(ctx, lrem)
		n, err := lrem.Int()
		if err != nil {
			return removed, d.failed("delete", err)
		}
		removed += n
	}
	return removed, nil
}

func (d *DeadList) failed(what string, err error) error {
	return fmt.Errorf("redisconn: %s of %q: %w", what, d.list, err)
}
