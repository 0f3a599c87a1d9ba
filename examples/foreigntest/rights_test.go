package foreigntest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// testRights runs the examples on Redis with the rights that docs/operations.md gives a client
// and a server, and with those that it says they need besides. Redis denies them nothing but a
// reply list that servers must not write to. They serve on.
func testRights(t *testing.T, w workspace) {
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	besides := regexp.MustCompile("the \\[examples\\]\\(\\.\\./examples\\) `([^`]+)`").FindSubmatch(page)
	require.NotNil(t, besides)
	broker := brokertest.StartRedis(t)
	as := make(map[string][]string) // the environment by role
	for _, role := range []string{"client", "server"} {
		line := regexp.MustCompile("(?m)^ACL SETUSER calc-" + role + " .*").Find(page)
		require.NotNil(t, line, role)
		var command []any
		for _, word := range strings.Fields(string(line) + " " + string(besides[1])) {
			command = append(command, word)
		}
		require.NoError(t, broker.Client(t).Do(t.Context(), command...).Err())
		as[role] = []string{"BROKER_URL=redis://calc-" + role + ":secret@" + broker.Addr, "QUEUE=calc"}
	}
	var clients []program
	for _, p := range programs(t) {
		if p.transport == "redis" && p.role == "client" {
			clients = append(clients, p)
		}
	}
	require.NotEmpty(t, clients)
	for _, p := range programs(t) {
		if p.transport != "redis" || p.role == "client" {
			continue
		}
		s := w.start(t, p.command, as["server"])
		request, _ := answerable("denied", "")
		require.NoError(t, broker.Client(t).LPush(t.Context(), "calc", request).Err())
		for _, client := range clients {
			got := w.run(t.Context(), client.command, as["client"])
			require.True(t, got.succeeded, "%s and %s: %s", p.command, client.command, got.stderr)
			require.Equal(t, "6.1\n", got.stdout)
		}
		s.stop(t)
	}
	denials := broker.Client(t).ACLLog(t.Context(), 100).Val()
	require.NotEmpty(t, denials)
	for _, denial := range denials {
		require.Equal(t, "denied", denial.Object)
	}
}
