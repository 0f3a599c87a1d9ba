package docstest

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// An exchange is a request of a session on a stream, and the answers to it.
type exchange struct {
	request string
	answers []string
}

func readExchanges(session string) (exchanges []exchange) {
	for part := range strings.SplitSeq(strings.TrimPrefix(session, "--> "), "\n--> ") {
		request, rest, _ := strings.Cut(strings.TrimSuffix(part, "\n"), "\n")
		x := exchange{request: request}
		for line := range strings.Lines(rest) {
			x.answers = append(x.answers, strings.TrimPrefix(line, "<-- "))
		}
		exchanges = append(exchanges, x)
	}
	return exchanges
}

// The client of each session on a stream gets from our server what the page says.
func TestStreamClientInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "stream", func(t *testing.T, session string) {
		here, there := net.Pipe()
		w := servicetest.Serve(t, jsonrpc2.NewStreamConn(there), quietServer)
		v := newValues(session)
		answers := json.NewDecoder(here)
		for _, x := range readExchanges(session) {
			_, err := io.WriteString(here, v.fill(x.request)+"\n")
			require.NoError(t, err)
			for _, want := range x.answers {
				var got json.RawMessage
				require.NoError(t, answers.Decode(&got), x.request)
				v.requireMessage(t, want, string(got))
			}
		}
		drained := make(chan error, 1)
		go func() { drained <- w.Ended(t) }()
		var extra json.RawMessage
		require.ErrorIs(t, answers.Decode(&extra), io.EOF, "an answer too many: %s", extra)
		require.NoError(t, <-drained)
	})
}

// The server of the sessions on streams serves our client, where a request is such as our
// client makes: with an id of its own.
func TestStreamServerInPage(t *testing.T) {
	t.Parallel()
	played := 0
	for _, session := range fencedBlocks(t, wirePage, "stream") {
		for _, x := range readExchanges(session) {
			if !strings.Contains(x.request, "<id>") {
				continue
			}
			played++
			require.Len(t, x.answers, 1)
			playStreamServer(t, x)
		}
	}
	require.NotZero(t, played)
}

func playStreamServer(t *testing.T, x exchange) {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	ended, v := start(t, newClient(t, jsonrpc2.NewStreamConn(here)), x.request), make(values)
	line, err := bufio.NewReader(there).ReadString('\n')
	require.NoError(t, err)
	v.requireMessage(t, x.request, line)
	_, err = io.WriteString(there, v.fill(x.answers[0])+"\n")
	require.NoError(t, err)
	requireOutcome(t, ended, v.fill(x.answers[0]))
}
