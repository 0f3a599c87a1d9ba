package redisconn

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// A DeadList holds the requests of a queue that were given up: see
// ListenOptions.MaxAttempts. They stay until Requeue or Delete removes them; of more
// than MaxDead the oldest are dropped. Its methods may be called by any goroutine. Their
// errors are those of Redis.
type DeadList struct {
	rdb   redis.UniversalClient
	queue string
	list  string
}

// NewDeadList returns the DeadList of a queue. It does not connect.
func NewDeadList(rdb redis.UniversalClient, queue string) *DeadList {
	return &DeadList{rdb: rdb, queue: queue, list: ownPrefix(queue) + "dead"}
}

// A DeadRequest is a request that was given up. List returns it; Requeue and Delete take
// it.
type DeadRequest struct {
	Time     time.Time // when it was given up, by the clock of Redis
	Attempts int       // how often it was started
	Reason   string    // why it was given up, or why its entry in the list can't be read
	Request  []byte    // the message as its client pushed it

	entry string // as it stands in the list
}

// List returns the n newest requests, newest first; all of them if n is negative.
func (d *DeadList) List(ctx context.Context, n int) ([]DeadRequest, error) {
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
	dead := make([]DeadRequest, len(entries))
	for i, entry := range entries {
		dead[i] = parseDead(entry)
	}
	return dead, nil
}

// parseDead parses an entry: a line of JSON, and the request as it was. A broken entry, which
// we have not written, is returned, too: so it can be seen and deleted.
func parseDead(entry string) DeadRequest {
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
	return DeadRequest{
		Time:     time.UnixMilli(header.Time),
		Attempts: header.Attempts,
		Reason:   header.Reason,
		Request:  []byte(request),
		entry:    entry,
	}
}

// requeueScript moves an entry back into the queue, as the last to be served. LLEN fails
// first if the queue is no list: an entry that can't be pushed must not be removed.
var requeueScript = newScript(`#!lua flags=allow-oom
redis.call('LLEN', KEYS[2])
local removed = redis.call('LREM', KEYS[1], 1, ARGV[1])
if removed == 1 then redis.call('LPUSH', KEYS[2], ARGV[2]) end
return removed`)

// Requeue moves a request back into the queue, as a new one without a deadline. Its
// caller already has an error, and does not wait for the answer. It reports whether the
// request was still in the list. A request that is no JSON is an error, too.
func (d *DeadList) Requeue(ctx context.Context, dead DeadRequest) (bool, error) {
	request, err := withoutDeadline(dead.Request)
	if err != nil {
		return false, d.failed("requeue", err)
	}
	removed, err := requeueScript.run(ctx, d.rdb, []string{d.list, d.queue}, dead.entry, request).Int()
	if err != nil {
		return false, d.failed("requeue", err)
	}
	return removed == 1, nil
}

// withoutDeadline returns a request, or a batch, without its member deadline_ms.
func withoutDeadline(request []byte) ([]byte, error) {
	var items []map[string]json.RawMessage
	if err := json.Unmarshal(request, &items); err == nil {
		for _, item := range items {
			delete(item, "deadline_ms")
		}
		return json.Marshal(items)
	}
	var item map[string]json.RawMessage
	if err := json.Unmarshal(request, &item); err != nil {
		return nil, err
	}
	delete(item, "deadline_ms")
	return json.Marshal(item)
}

// Delete removes a request. It reports whether the request was still in the list.
func (d *DeadList) Delete(ctx context.Context, dead DeadRequest) (bool, error) {
	removed, err := d.rdb.LRem(ctx, d.list, 1, dead.entry).Result()
	if err != nil {
		return false, d.failed("delete", err)
	}
	return removed == 1, nil
}

func (d *DeadList) failed(what string, err error) error {
	return fmt.Errorf("redisconn: %s of %q: %w", what, d.list, err)
}
