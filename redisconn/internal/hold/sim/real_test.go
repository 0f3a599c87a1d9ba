package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// simTime is a key that tells the time of a step.
const simTime = "sim:time"

// TestRealRedis keeps the simulated Redis from being another: what the scripts and the
// commands of histories returned they return on a real one.
func TestRealRedis(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: brokertest.StartRedis(t).Addr})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	s := New()
	seen := make(map[string]int)
	last := uint64(100)
	if raceEnabled {
		last = 40
	}
	for seed := uint64(1); seed <= last; seed++ {
		var steps []Step
		result := s.Run(seed, Options{Record: func(s Step) { steps = append(steps, s) }})
		require.Nil(t, result.Violation)
		undo := slices.IndexFunc(steps, func(s Step) bool { return s.Script == nil && s.Command == nil })
		if undo >= 0 {
			steps = steps[:undo]
		}
		replay(t, rdb, seed, steps)
		for _, step := range steps {
			if step.Script != nil {
				seen[step.Script.Name]++
			} else {
				seen[step.Command[0]]++
			}
		}
	}
	t.Logf("%v", seen)
	for _, name := range []string{"join", "take", "begin", "settle", "claim", "release", "beat", "reap", "leave", "RPOP", "LMOVE"} {
		require.NotZero(t, seen[name], name)
	}
}

// replay does the steps of a history on a real Redis.
func replay(t *testing.T, rdb *redis.Client, seed uint64, steps []Step) {
	ctx := context.Background()
	pipe := rdb.Pipeline()
	pipe.FlushAll(ctx)
	replies := make([]*redis.Cmd, len(steps))
	for i, s := range steps {
		pipe.HSet(ctx, simTime, "s", int64(s.Time/time.Second), "us", int64(s.Time%time.Second/time.Microsecond))
		if s.Script != nil {
			replies[i] = pipe.Eval(ctx, withTime(s.Script), s.Keys, s.Args...)
			continue
		}
		args := make([]any, len(s.Command))
		for j, arg := range s.Command {
			args[j] = arg
		}
		replies[i] = pipe.Do(ctx, args...)
	}
	_, _ = pipe.Exec(ctx) // some are refused
	for i, s := range steps {
		reply, err := replies[i].Result()
		if err != nil && err != redis.Nil {
			reply = err
		}
		require.Equal(t, normal(s, s.Reply), normal(s, reply), "seed %d, step %d: %v %v %v", seed, i, s.Command, s.Keys, s.Args)
	}
}

// withTime returns a script's text that finds the time of a step.
func withTime(s *hold.Script) string {
	return strings.ReplaceAll(s.Text, "redis.call('TIME')", "redis.call('HMGET', '"+simTime+"', 's', 'us')")
}

// normal returns a reply in one form: hashes have no order, and errors end with more on
// a real Redis.
func normal(s Step, reply any) any {
	if err, ok := reply.(error); ok {
		code, _, _ := strings.Cut(err.Error(), " ")
		return code
	}
	values, ok := reply.([]any)
	if !ok {
		return reply
	}
	if s.Script != nil && s.Script.Name == "beat" && len(values) == 5 {
		values = slices.Clone(values)
		values[1], values[4] = sorted(values[1], 2), sorted(values[4], 1)
	}
	if len(values) == 0 {
		return nil
	}
	return values
}

// sorted returns an array's groups of n in order.
func sorted(reply any, n int) []string {
	values, _ := reply.([]any)
	var groups []string
	for ; len(values) >= n; values = values[n:] {
		groups = append(groups, fmt.Sprint(values[:n]))
	}
	slices.Sort(groups)
	return groups
}

// TestEncode keeps the simulated cjson from writing other JSON than the real one.
func TestEncode(t *testing.T) {
	m := newMachine()
	script := &hold.Script{Name: "encode", Text: `return cjson.encode({time = 1790000000123, attempts = 3, reason = 'its "server" died'})`}
	var decoded map[string]any
	require.NoError(t, json.Unmarshal([]byte(m.run(&store{}, nil, script, nil, nil).(string)), &decoded))
	require.Equal(t, map[string]any{"time": 1790000000123.0, "attempts": 3.0, "reason": `its "server" died`}, decoded)
}
