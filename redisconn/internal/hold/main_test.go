package hold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ours are the keys of the tests: their names are those in the package's comment.
var ours = Keys{Queue: "queue"}

// Keys are what Redis has: a list of each list, a hash of each hash.
type (
	keys map[string]any
	list []string
	hash map[string]string
)

// A broker is a Redis that knows the scripts.
type broker struct {
	rdb   *redis.Client
	saved map[string]string
}

func startBroker(t testing.TB) *broker {
	b := &broker{rdb: brokertest.StartRedis(t).Client(t)}
	for _, s := range []*Script{join, take, begin, settle, claim, release, beat, reap, leave} {
		require.NoError(t, b.rdb.ScriptLoad(context.Background(), s.Text).Err())
	}
	return b
}

// run runs a command's script.
func (b *broker) run(c Command) (any, error) {
	return b.rdb.EvalSha(context.Background(), c.Script.SHA, c.Keys, c.Args...).Result()
}

// do does a command of Redis.
func (b *broker) do(args ...any) (any, error) {
	return b.rdb.Do(context.Background(), args...).Result()
}

// set makes Redis have keys and no others.
func (b *broker) set(t testing.TB, all keys) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, b.rdb.FlushDB(ctx).Err())
	for name, value := range all {
		switch value := value.(type) {
		case list:
			require.NoError(t, b.rdb.RPush(ctx, name, []string(value)).Err())
		case hash:
			for _, field := range slices.Sorted(maps.Keys(value)) { // so that HKEYS has an order
				require.NoError(t, b.rdb.HSet(ctx, name, field, value[field]).Err())
			}
		}
	}
}

// keys returns what Redis has, in a normal form.
func (b *broker) keys(t testing.TB) keys {
	t.Helper()
	ctx := context.Background()
	all := keys{}
	for _, name := range b.rdb.Keys(ctx, "*").Val() {
		switch kind := b.rdb.Type(ctx, name).Val(); kind {
		case "list":
			values := list{}
			for _, v := range b.rdb.LRange(ctx, name, 0, -1).Val() {
				values = append(values, normal(v).(string))
			}
			all[normal(name).(string)] = values
		case "hash":
			fields := hash{}
			for field, v := range b.rdb.HGetAll(ctx, name).Val() {
				fields[normal(field).(string)] = normal(v).(string)
			}
			all[normal(name).(string)] = fields
		default:
			all[name] = kind
		}
	}
	return all
}

// requireKeys requires that Redis has these keys and no others.
func (b *broker) requireKeys(t testing.TB, want keys) {
	t.Helper()
	require.Equal(t, want, b.keys(t))
}

// save makes undo take back all writes that follow, as a failover to a replica that lacks them
// does.
func (b *broker) save() error {
	ctx := context.Background()
	b.saved = make(map[string]string)
	var failed error
	for _, name := range b.rdb.Keys(ctx, "*").Val() {
		dump, err := b.rdb.Dump(ctx, name).Result()
		b.saved[name], failed = dump, errors.Join(failed, err)
	}
	return failed
}

func (b *broker) undo() error {
	ctx := context.Background()
	failed := b.rdb.FlushDB(ctx).Err()
	for name, dump := range b.saved {
		failed = errors.Join(failed, b.rdb.Restore(ctx, name, 0, dump).Err())
	}
	return failed
}

var moment = regexp.MustCompile(`\b\d{10}\.\d{1,6}\b`)

// normal returns a value in which T stands for each TIME, and in which the header of a
// dead request is in order.
func normal(value any) any {
	switch value := value.(type) {
	case []any:
		all := make([]any, len(value))
		for i, v := range value {
			all[i] = normal(v)
		}
		return all
	case string:
		if header, body, ok := strings.Cut(value, "\n"); ok {
			return normalDead(header) + "\n" + body
		}
		return moment.ReplaceAllString(value, "T")
	}
	return value
}

// normalDead returns the header of a dead request without its time, if that is now.
func normalDead(header string) string {
	var h struct {
		Time     int64
		Attempts int
		Reason   string
	}
	err := json.Unmarshal([]byte(header), &h)
	if age := time.Since(time.UnixMilli(h.Time)); err != nil || age.Abs() > time.Minute {
		return header
	}
	return fmt.Sprintf("%d, %s", h.Attempts, h.Reason)
}
