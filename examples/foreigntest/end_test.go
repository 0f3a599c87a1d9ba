package foreigntest

import (
	"fmt"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// slow has what makes the method of each language take a second, after it has noted in the
// environment's file that it has begun: a line of the program, and what goes behind it.
var slow = []struct{ file, line, more string }{
	{"ruby/calc.rb", "  def add(params)\n", "    File.write(ENV.fetch('BEGUN'), 'add ', mode: 'a'); sleep 1\n"},
	{"python/calc.py", "def add(params):\n", "    import os, time; open(os.environ['BEGUN'], 'a').write('add '); time.sleep(1)\n"},
	{"node/calc.js", "function add(params) {\n", "  appendFileSync(process.env.BEGUN, 'add ');\n  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);\n"},
	{"node/calc.js", "const methods = new Map([['add', add]]);\n", "import { appendFileSync } from 'node:fs';\n"},
}

// A server that gets SIGTERM answers the request that it runs: another server would run it again.
func TestEndAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for _, s := range slow {
		file := filepath.Join(w.dir, s.file)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(text), s.line))
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), s.line, s.line+s.more, 1)), 0o600))
	}
	for _, p := range programs(t) {
		if p.role != "server" {
			continue
		}
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			s, begun := sites[p.transport](t), filepath.Join(t.TempDir(), "begun")
			server := w.start(t, p.command, append(s.env(), "BEGUN="+begun))
			client := newClient(t, s.dial(false))
			call := client.Go("Calc.Add", Named{1, 5.1}, new(float64), make(chan *rpc.Call, 1))
			servicetest.Eventually(t, func() bool { text, _ := os.ReadFile(begun); return len(text) > 0 })
			server.stop(t)
			require.NoError(t, (<-call.Done).Error)
			require.Equal(t, "6.1", fmt.Sprint(*call.Reply.(*float64)))
			text, err := os.ReadFile(begun)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(text), "add"))
			require.NoError(t, client.Close())
			s.empty(t)
		})
	}
}
