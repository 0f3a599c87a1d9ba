// Package roletest has programs that use an end of a transport in the wrong role.
package roletest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrong are programs that must not build, and why they don't.
var wrong = map[string]string{
	"serve_redis.go":    "*redisconn.ClientConn does not implement jsonrpc2.ServerConn (missing method ReadRequest)",
	"serve_rabbitmq.go": "*amqpconn.ClientConn does not implement jsonrpc2.ServerConn (missing method ReadRequest)",
	"serve_http.go":     "*httpconn.ClientConn does not implement jsonrpc2.ServerConn (missing method ReadRequest)",
	"call_redis.go":     "*redisconn.ServerConn does not implement jsonrpc2.ClientConn (missing method Inquire)",
	"call_rabbitmq.go":  "*amqpconn.ServerConn does not implement jsonrpc2.ClientConn (missing method Inquire)",
	"call_http.go":      "*httpconn.Handler does not implement jsonrpc2.ClientConn (missing method Inquire)",
}

// Serving a calling end, or calling on a serving one, does not compile; the same
// program with the other constructor does.
func TestWrongRole(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.go")
	require.NoError(t, err)
	require.Len(t, files, len(wrong))
	for file, why := range wrong {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			program, err := filepath.Abs(filepath.Join("testdata", file))
			require.NoError(t, err)
			out, err := build(t, program)
			require.Error(t, err)
			require.Contains(t, out, why)

			text, err := os.ReadFile(program)
			require.NoError(t, err)
			right := filepath.Join(t.TempDir(), file)
			require.NoError(t, os.WriteFile(right, []byte(otherRole(string(text))), 0o644))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{program: right}})
			require.NoError(t, err)
			replace := filepath.Join(t.TempDir(), "overlay.json")
			require.NoError(t, os.WriteFile(replace, overlay, 0o644))
			out, err = build(t, "-overlay", replace, program)
			require.NoError(t, err, out)
		})
	}
}

// otherRole returns a program with the other constructor of its transport.
func otherRole(program string) string {
	program = strings.NewReplacer("conn.Dial(", "conn.Listen(", "conn.Listen(", "conn.Dial(").Replace(program)
	return strings.NewReplacer(`Listen("http://localhost", nil)`, "Listen(nil)", "Dial(nil)", `Dial("", nil)`).Replace(program)
}

// build builds a program and returns what the compiler says.
func build(t *testing.T, args ...string) (string, error) {
	args = append([]string{"build", "-o", os.DevNull}, args...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	return string(out), err
}
