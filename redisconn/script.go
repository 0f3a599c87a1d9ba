package redisconn

import (
	"context"
	"crypto/sha1"
	"encoding/hex"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A script is a Lua script, to be called by its hash once Redis has seen it.
type script struct {
	text, sha string
}

func newScript(text string) script {
	sum := sha1.Sum([]byte(text))
	return script{text, hex.EncodeToString(sum[:])}
}

func scriptOf(c hold.Command) script { return script{text: c.Script.Text, sha: c.Script.SHA} }

// args returns the command that calls the script: by its hash or, if Redis has not seen the
// script, by its text.
func (s script) args(bySHA bool, keys []string, args []any) []any {
	cmd := make([]any, 0, 3+len(keys)+len(args))
	if bySHA {
		cmd = append(cmd, "evalsha", s.sha, len(keys))
	} else {
		cmd = append(cmd, "eval", s.text, len(keys))
	}
	for _, key := range keys {
		cmd = append(cmd, key)
	}
	return append(cmd, args...)
}

// run runs a script that may run twice: go-redis sends it again after a fault.
func (s script) run(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, s.args(true, keys, args)...)
	_ = rdb.Process(ctx, cmd)
	if isRefusal(cmd.Err(), "NOSCRIPT") {
		cmd = redis.NewCmd(ctx, s.args(false, keys, args)...)
		_ = rdb.Process(ctx, cmd)
	}
	return cmd
}

// runOnce runs a script that must not run twice: go-redis does not send it again. After a fault
// the script may have run.
func (s script) runOnce(ctx context.Context, rdb redis.UniversalClient, keys []string, args ...any) *redis.Cmd {
	cmd := newUnrepeated(ctx, s.args(true, keys, args)...)
	_ = rdb.Process(ctx, cmd)
	if isRefusal(cmd.Err(), "NOSCRIPT") {
		cmd = newUnrepeated(ctx, s.args(false, keys, args)...)
		_ = rdb.Process(ctx, cmd)
	}
	return cmd.Cmd
}
