package brokertest

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// Eval evaluates Erlang expressions in the node and returns what they print. Commas separate
// them. Use it for a condition that is polled: it takes milliseconds, while Ctl starts an
// Erlang of its own and takes a second.
func (r *RabbitMQ) Eval(expressions string) string {
	r.t.Helper()
	out, err := r.node.eval(expressions)
	require.NoError(r.t, err)
	return out
}

//go:embed queues.erl
var queues string

// Queues returns a line for each queue, with the named items separated by tabs. It is
// rabbitmqctl's list_queues without the heading.
func (r *RabbitMQ) Queues(items ...string) string {
	r.t.Helper()
	return r.Eval("Items = [" + strings.Join(items, ", ") + "],\n" + queues)
}

// MemoryAlarm makes the node take nothing from publishers, as if it had no memory left, or
// ends that.
func (r *RabbitMQ) MemoryAlarm(on bool) {
	r.t.Helper()
	r.Eval("ok = vm_memory_monitor:set_vm_memory_high_watermark(" + either(on, "0.00001", "0.4") + ")")
}

// DiskAlarm is like MemoryAlarm, as if the disk was full.
func (r *RabbitMQ) DiskAlarm(on bool) {
	r.t.Helper()
	r.Eval("ok = rabbit_disk_monitor:set_disk_free_limit(" + either(on, `"100000GB"`, `"50MB"`) + ")")
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// eval implements [RabbitMQ.Eval].
func (n *rabbitNode) eval(expressions string) (string, error) {
	path, err := rabbitTool("erl_call")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	name := rand.Text() // a second caller of the same name would end the connection of the first
	cmd := exec.CommandContext(ctx, path, "-address", loopback(n.dist), "-h", name, "-fetch_stdout", "-e")
	cmd.Env = n.host.env()
	cmd.Stdin = strings.NewReader(expressions + ", ok.\n")
	cmd.WaitDelay = time.Second
	var out, warnings strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &warnings
	err = cmd.Run()
	printed, ok := strings.CutSuffix(out.String(), "{ok, ok}")
	if err == nil && !ok { // the output says why
		err = errors.New("failed in the node")
	}
	if err != nil {
		return "", fmt.Errorf("brokertest: erl_call %q: %w\n%s%s", expressions, err, out.String(), warnings.String())
	}
	return printed, nil
}
