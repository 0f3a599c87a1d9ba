package hold

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A row is a case of a transition: what is called, and what Redis has before and after.
type rowTest struct {
	name   string
	before keys
	calls  []call
	after  keys // nil: as before
}

// A call is one of a script or of a command, or something done to the broker.
type call struct {
	script Command
	args   []any
	do     func(*testing.T, *broker)

	want any    // reply
	err  string // what the reply begins with that is an error
}

func (c call) run(t *testing.T, b *broker) {
	t.Helper()
	var reply any
	var err error
	switch {
	case c.do != nil:
		c.do(t, b)
		return
	case c.args != nil:
		reply, err = b.do(c.args...)
	default:
		reply, err = b.run(c.script)
	}
	if c.err != "" {
		require.ErrorContains(t, err, c.err)
		return
	}
	require.NoError(t, err)
	require.Equal(t, c.want, normal(reply))
}

func runRows(t *testing.T, rows []rowTest) {
	t.Parallel()
	b := startBroker(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b.set(t, row.before)
			for _, c := range row.calls {
				c.run(t, b)
			}
			after := row.after
			if after == nil {
				after = row.before
			}
			b.requireKeys(t, after)
		})
	}
}

// Calls as a Worker makes them.

// anyone makes commands that depend on keys alone.
var anyone = &Worker{opts: Options{Keys: ours}}

const kilobyte = 1 << 10

func joins(name string, want ...any) call {
	return call{script: Command{Script: join, Keys: []string{ours.workers()}, Args: []any{Layout, name, 1000}}, want: want}
}

// takes takes n requests at most, and a suspect if suspects is 1.
func takes(gen string, token, n, suspects int, want ...any) call {
	return takesBytes(gen, token, n, kilobyte, suspects, want...)
}

func takesBytes(gen string, token, n, bytes, suspects int, want ...any) call {
	return call{
		script: Command{
			Script: take,
			Keys:   []string{ours.workers(), ours.held(gen), ours.Queue, ours.ready(), ours.suspects()},
			Args:   []any{gen, token, n, bytes, suspects},
		},
		want: want,
	}
}

// taken is a take's reply. The starts are those of the first if that is a suspect; nil
// stands for a body that is not held any more.
func taken(next, moment string, starts any, ready int64, bodies ...any) []any {
	return append([]any{"taken", next, moment, starts, ready}, bodies...)
}

func begins(gen, field string, count int, want int64) call {
	return call{
		script: Command{Script: begin, Keys: []string{ours.workers(), ours.held(gen)}, Args: []any{gen, field, count}},
		want:   want,
	}
}

// settles settles requests of a generation by an answer each, "re " and the field. An
// empty field is of no request.
func settles(gen string, fields []string, want ...any) call {
	var answers []Answer
	for _, field := range fields {
		a := Answer{Body: []byte("re " + field)}
		if field != "" {
			a.Request = &Request{gen: gen, field: field}
		}
		answers = append(answers, a)
	}
	return call{script: anyone.SettleCommand("reply", time.Minute, answers), want: want}
}

func requestsOf(gen string, fields []string) []*Request {
	var requests []*Request
	for _, field := range fields {
		requests = append(requests, &Request{gen: gen, field: field})
	}
	return requests
}

func claims(gen string, fields []string, want ...any) call {
	return call{script: anyone.ClaimCommand(requestsOf(gen, fields)), want: want}
}

func drops(gen string, want int64, fields ...string) call {
	return call{args: anyone.DropArgs(requestsOf(gen, fields)), want: want}
}

// releases gives back requests; args are their fields and counts.
func releases(gen string, want int64, args ...any) call {
	return releasesBytes(gen, kilobyte, int64(len(args)/2), want, args...)
}

func releasesBytes(gen string, bytes int, seen, want int64, args ...any) call {
	return call{script: anyone.releaseCommand(gen, bytes, args), want: []any{seen, want}}
}

func beats(gen string, want ...any) call {
	return call{
		script: Command{
			Script: beat,
			Keys:   []string{ours.workers(), ours.held(gen), ours.Queue, ours.ready(), ours.suspects()},
			Args:   []any{gen},
		},
		want: want,
	}
}

// reaps takes over two requests at most, which may be started twice. Two dead ones are kept.
func reaps(gen, row string, want ...any) call {
	return reapsBytes(gen, row, kilobyte, want...)
}

func reapsBytes(gen, row string, bytes int, want ...any) call {
	return call{
		script: Command{
			Script: reap,
			Keys:   []string{ours.workers(), ours.held(gen), ours.suspects(), ours.Dead()},
			Args:   []any{gen, row, 2, 2, bytes, 2, "why"},
		},
		want: want,
	}
}

// leaves ends a generation that could not answer what is in the unsent fields.
func leaves(gen string, want int64, unsent ...any) call {
	return leavesBytes(gen, kilobyte, 0, want, unsent...)
}

func leavesBytes(gen string, bytes int, more, want int64, unsent ...any) call {
	return call{script: anyone.leaveCommand(gen, append([]any{gen, bytes}, unsent...)), want: []any{more, want}}
}

func does(want any, args ...any) call { return call{args: args, want: want} }

// refuses is a call that Redis refuses.
func refuses(c call, err string) call { return call{script: c.script, err: err} }

var (
	saves = call{do: func(t *testing.T, b *broker) { require.NoError(t, b.save()) }}
	undo  = call{do: func(t *testing.T, b *broker) { require.NoError(t, b.undo()) }}
)

// rowOf are the workers if there is g alone, which has beaten three times.
var rowOf = hash{"layout": Layout, "g": "3 1000"}
