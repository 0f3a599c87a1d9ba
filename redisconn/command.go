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

// unrepeated is a command that go-redis must not send a second time, whatever its
// options say: a push that was repeated because only its reply got lost would
// run a request twice, a pop would lose what it took. The caller's own client
// is used for it, for its hooks and its failover.
type unrepeated struct {
	*redis.Cmd
}

func (unrepeated) NoRetry() bool { return true }

func newUnrepeated(ctx context.Context, args ...any) unrepeated {
	return unrepeated{redis.NewCmd(ctx, args...)}
}

// certainlyNotRun reports that the failed command did not run: Redis refused it,
// it had no connection or, being the last of what was written, was not wholly
// written. Else nobody knows.
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
		errors.Is(err, context.DeadlineExceeded) // which counts for connecting alone
}

// isListsFault reports that a list can't be pushed onto, while others can.
func isListsFault(err error) bool {
	return isRefusal(err, "WRONGTYPE") || isRefusal(err, "NOPERM") && strings.Contains(err.Error(), "key")
}

// isRefusal reports that Redis answered with an error that begins with one of
// the codes.
func isRefusal(err error, codes ...string) bool {
	if err == nil { // most often: the rest would allocate
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

// removeList removes a list of ours that is used no more.
func removeList(rdb redis.UniversalClient, list string, log *slog.Logger) {
	cmd := newUnrepeated(context.Background(), "del", list)
	_ = rdb.Process(context.Background(), cmd)
	if isRefused(cmd.Err()) {
		log.Warn("a list that is used no more is left until it expires", slog.String("list", list), slog.Any("error", cmd.Err()))
	}
}

// isRefused reports that Redis does not do a command, or not for this user: each
// broker says so in its own words.
func isRefused(err error) bool { return isRefusal(err, "ERR", "NOPERM") }

// A popper takes values off lists, many at a time.
type popper struct {
	rdb    redis.UniversalClient
	newest bool // take from the right, else from the left
	old    bool // Redis has no BLMPOP, as far as we know: it is older than 7.0, or refuses it
	single bool // nor a pop with a count
}

type popCmd struct{ *redis.KeyValuesCmd }

func (popCmd) NoRetry() bool { return true }

type popOneCmd struct{ *redis.StringSliceCmd }

func (popOneCmd) NoRetry() bool { return true }

// pop waits up to blockTime for values on one of the lists, and takes up to n
// off the first that has some. There are none when the time is over.
//
// A context would not interrupt it: go-redis looks at one before it sends and
// then only at the socket's deadline. What ends a pop early is a value on a list
// of the popper's own.
func (p *popper) pop(n int, keys ...string) (key string, values []string, err error) {
	var refusal error
	if !p.old {
		key, values, err = p.popMany(n, keys)
		if p.old = isRefused(err); p.old {
			refusal = err
		}
	}
	if p.old {
		key, values, err = p.popOneAndMore(n, keys)
	}
	if refusal != nil && isRefused(err) {
		err = fmt.Errorf("%w, and before: %w", err, refusal)
	}
	if errors.Is(err, redis.Nil) {
		return "", nil, nil
	}
	if err != nil { // after a fault Redis may be another one
		p.old, p.single = false, false
	}
	return key, values, err
}

// connecting returns the context of a blocking pop, which bounds the wait for a
// connection. Where the client's options let it end the pop itself it has no end,
// for what was popped then would be lost.
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

// The commands are made by a pipeline that is never sent: that is how they get
// the read timeout that a blocking command needs.

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

// popRest takes up to n values more. What is wrong now will be so the next time.
func (p *popper) popRest(command, key string, n int) []string {
	ctx := context.Background()
	if !p.single {
		rest := newUnrepeated(ctx, command, key, n)
		_ = p.rdb.Process(ctx, rest)
		values, err := rest.StringSlice()
		p.single = isRefused(err)
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

// maxSingle is how many values are taken at once where each takes a command.
const maxSingle = 16
