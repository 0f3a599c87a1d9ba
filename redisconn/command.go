package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// An unrepeated is a command that go-redis must not send a second time, whatever its
// options say. If only the reply got lost, a second push would run a request twice, and a
// second pop would lose what the first one took. The user's own client sends it, with its
// hooks and its failover.
type unrepeated struct {
	*redis.Cmd
}

func (unrepeated) NoRetry() bool { return true }

func newUnrepeated(ctx context.Context, args ...any) unrepeated {
	return unrepeated{redis.NewCmd(ctx, args...)}
}

// certainlyNotRun reports whether a command that failed is known not to have run: Redis
// refused it, or it had no connection. If last is set, nothing was written after the command:
// then it did not run if the write failed, since Redis has not received all of it.
func certainlyNotRun(err error, last bool) bool {
	var refusal redis.Error
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &refusal), errors.As(err, &certificate), errors.As(err, &header), errors.As(err, &alert):
		return true
	case errors.As(err, &op):
		return op.Op == "dial" || last && op.Op == "write"
	}
	return errors.Is(err, redis.ErrClosed) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) ||
		errors.Is(err, context.DeadlineExceeded) // the ctx of a command bounds connecting alone
}

// isListsFault reports whether the error is about the list that was pushed onto: a push onto
// another list may work.
func isListsFault(err error) bool {
	return isRefusal(err, "WRONGTYPE") || isRefusal(err, "NOPERM") && strings.Contains(err.Error(), "key")
}

// isRefusal reports whether Redis answered with an error that begins with one of
// the codes. Each error begins with the code "".
func isRefusal(err error, codes ...string) bool {
	if err == nil { // most often, and the rest allocates
		return false
	}
	var refusal redis.Error
	if !errors.As(err, &refusal) {
		return false
	}
	for _, code := range codes {
		if strings.HasPrefix(refusal.Error(), code) {
			return true
		}
	}
	return false
}

// removeList removes a list of our own that is no longer used.
func removeList(rdb redis.UniversalClient, list string, log *slog.Logger) {
	cmd := newUnrepeated(context.Background(), "del", list)
	_ = rdb.Process(context.Background(), cmd)
	if isRefused(cmd.Err()) {
		log.Warn("a list that is used no more is left until it expires", slog.String("list", list), slog.Any("error", cmd.Err()))
	}
}

// isRefused reports whether Redis does not know a command, or refuses it to this user. It
// looks at the error's code alone, since each Redis service words the rest differently.
func isRefused(err error) bool { return isRefusal(err, "ERR", "NOPERM") }

// A popper takes values off lists, many at a time. One goroutine uses it.
type popper struct {
	rdb    redis.UniversalClient
	newest bool // pop from the right, else from the left

	// What Redis refuses, as far as is known. Redis has no BLMPOP before 7.0.
	noBLMPOP bool
	noCount  bool // RPOP and LPOP with a count
}

// A popCmd and a popOneCmd are blocking pops that go-redis must not repeat, as with
// unrepeated.
type popCmd struct{ *redis.KeyValuesCmd }

func (popCmd) NoRetry() bool { return true }

type popOneCmd struct{ *redis.StringSliceCmd }

func (popOneCmd) NoRetry() bool { return true }

// pop waits up to blockTime for values on one of the lists, and takes up to n off the first
// list that has some. It returns none when the time is over.
//
// A context can't interrupt a pop: once go-redis has sent the pop, only the read timeout ends the
// wait. To end a pop early, push a value onto one of the lists: see addWake.
func (p *popper) pop(n int, keys ...string) (key string, values []string, err error) {
	var refusal error
	if !p.noBLMPOP {
		key, values, err = p.popMany(n, keys)
		if p.noBLMPOP = isRefused(err); p.noBLMPOP {
			refusal = err
		}
	}
	if p.noBLMPOP {
		key, values, err = p.popOneAndMore(n, keys)
	}
	if refusal != nil && isRefused(err) {
		err = fmt.Errorf("%w, and before: %w", err, refusal)
	}
	if errors.Is(err, redis.Nil) {
		return "", nil, nil
	}
	if err != nil { // the next connection may lead to another Redis
		p.noBLMPOP, p.noCount = false, false
	}
	return key, values, err
}

// connecting returns the context of a blocking pop, which bounds the wait for a connection.
// It has no deadline if the client's ContextTimeoutEnabled is set: the deadline would then
// end the pop itself, and lose what was popped.
func (p *popper) connecting() (context.Context, context.CancelFunc) {
	ends := true
	switch rdb := p.rdb.(type) {
	case *redis.Client:
		ends = rdb.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		ends = rdb.Options().ContextTimeoutEnabled
	}
	if ends {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), sendPatience)
}

// popMany pops by BLMPOP. A pipeline that is never sent makes the command: so it has the read
// timeout that a blocking command needs. popOneAndMore does the same.
func (p *popper) popMany(n int, keys []string) (string, []string, error) {
	side := "left"
	if p.newest {
		side = "right"
	}
	ctx, cancel := p.connecting()
	defer cancel()
	cmd := popCmd{p.rdb.Pipeline().BLMPop(ctx, blockTime, side, int64(n), keys...)}
	_ = p.rdb.Process(ctx, cmd)
	return cmd.Result()
}

// popOneAndMore does what popMany does, on a Redis without BLMPOP.
func (p *popper) popOneAndMore(n int, keys []string) (string, []string, error) {
	ctx, cancel := p.connecting()
	defer cancel()
	pipeline, more := p.rdb.Pipeline(), "lpop"
	one := pipeline.BLPop
	if p.newest {
		one, more = pipeline.BRPop, "rpop"
	}
	cmd := popOneCmd{one(ctx, blockTime, keys...)}
	_ = p.rdb.Process(ctx, cmd)
	taken, err := cmd.Result()
	if err != nil {
		return "", nil, err
	}
	key, values := taken[0], taken[1:]
	if n > 1 {
		values = append(values, p.popRest(more, key, n-1)...)
	}
	return key, values, nil
}

// popRest takes up to n more values off a list. It ignores an error: the next pop returns it.
func (p *popper) popRest(command, key string, n int) []string {
	ctx := context.Background()
	if !p.noCount {
		rest := newUnrepeated(ctx, command, key, n)
		_ = p.rdb.Process(ctx, rest)
		values, err := rest.StringSlice()
		p.noCount = isRefused(err)
		return values
	}
	var values []string
	pipeline := p.rdb.Pipeline()
	cmds := make([]unrepeated, min(n, maxSingle))
	for i := range cmds {
		cmds[i] = newUnrepeated(ctx, command, key)
		_ = pipeline.Process(ctx, cmds[i])
	}
	_, _ = pipeline.Exec(ctx)
	for _, cmd := range cmds {
		if value, err := cmd.Text(); err == nil {
			values = append(values, value)
		}
	}
	return values
}

// maxSingle is how many values are popped at once if each needs a command of its own.
const maxSingle = 16
