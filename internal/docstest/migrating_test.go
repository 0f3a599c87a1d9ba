package docstest

import (
	"bufio"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/markdown"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The page's program prints what the page says.
func TestProgramOfMigrating(t *testing.T) {
	t.Parallel()
	text := readText(t, "docs/migrating.md")
	programs, outputs := markdown.Blocks(text, "go"), markdown.Blocks(text, "text")
	require.Len(t, programs, 1)
	require.Len(t, outputs, 1)
	require.Equal(t, outputs[0], runGo(t, map[string]string{"main.go": programs[0]}, "run", "."))
}

// A request of net/rpc/jsonrpc is refused, as the page says.
func TestOldRequestIsRefused(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	servicetest.Serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	go func() { _, _ = fmt.Fprintln(here, `{"method":"Calc.Add","params":[{"A":1,"B":5.1}],"id":0}`) }()
	answer, err := bufio.NewReader(here).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, answer, `"code":-32600`)
	require.NoError(t, here.Close())
}
