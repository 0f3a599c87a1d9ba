package jsonrpc2_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// TestTranscripts plays the sessions in testdata against a server on a stream.
// See testdata/README.md for what they look like.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	streams := map[string]func(testing.TB) (there, here net.Conn){"pipe": pipePair, "tcp": tcpPair}
	for _, file := range files {
		script := readTranscript(t, file)
		for kind, connect := range streams {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+kind, func(t *testing.T) {
				script.play(t, connect)
			})
		}
	}
}

// A transcript is a session: what is sent, and what has to come back.
type transcript struct {
	options   jsonrpc2.ServerOptions
	exchanges []exchange
}

type exchange struct {
	line    int
	send    string
	answers []json.RawMessage
}

func readTranscript(tb testing.TB, file string) transcript {
	tb.Helper()
	text, err := os.ReadFile(file)
	require.NoError(tb, err)
	script := transcript{options: jsonrpc2.ServerOptions{Name: specName}}
	var answers strings.Builder
	answered := func() {
		if n := len(script.exchanges); n > 0 {
			script.exchanges[n-1].answers = splitTexts(tb, strings.NewReader(answers.String()))
		}
		answers.Reset()
	}
	sending := false
	for i, line := range strings.Split(string(text), "\n") {
		direction, rest, _ := strings.Cut(line, " ")
		switch direction {
		case "", "#":
			sending = false
		case "@":
			setOption(tb, &script.options, rest)
		case "-->":
			if !sending {
				answered()
				script.exchanges = append(script.exchanges, exchange{line: i + 1})
			}
			sending = true
			script.exchanges[len(script.exchanges)-1].send += rest + "\n"
		case "<--":
			sending = false
			answers.WriteString(rest + "\n")
		default:
			tb.Fatalf("%s:%d: %q is no line of a transcript", file, i+1, line)
		}
	}
	answered()
	return script
}

func setOption(tb testing.TB, opts *jsonrpc2.ServerOptions, setting string) {
	tb.Helper()
	name, value, _ := strings.Cut(setting, " ")
	if name == "Service" {
		opts.Service, opts.Name = value, nil
		return
	}
	limits := map[string]*int{
		"MaxInFlight": &opts.MaxInFlight, "MaxMessageSize": &opts.MaxMessageSize,
		"MaxBatch": &opts.MaxBatch, "MaxDepth": &opts.MaxDepth,
	}
	n, err := strconv.Atoi(value)
	require.NoError(tb, err)
	require.Contains(tb, limits, name)
	*limits[name] = n
}

// splitTexts reads JSON texts to the end of r.
func splitTexts(tb testing.TB, r io.Reader) (texts []json.RawMessage) {
	tb.Helper()
	for d := json.NewDecoder(r); ; {
		var text json.RawMessage
		err := d.Decode(&text)
		if errors.Is(err, io.EOF) {
			return texts
		}
		require.NoError(tb, err)
		texts = append(texts, text)
	}
}

func (s *transcript) play(t *testing.T, connect func(testing.TB) (there, here net.Conn)) {
	there, here := connect(t)
	defer here.Close()
	require.NoError(t, here.SetDeadline(time.Now().Add(servicetest.Soon)))
	ctx, drain := context.WithCancel(t.Context())
	defer drain()
	opts := s.options
	opts.Logger = slog.New(slog.DiscardHandler)
	served := make(chan error, 1)
	go func() { served <- jsonrpc2.Serve(ctx, newServer(t), jsonrpc2.NewStreamConn(there), &opts) }()

	answers := json.NewDecoder(here)
	for _, x := range s.exchanges {
		x.play(t, here, answers)
	}
	last := exchange{ // when it is answered, all before it was read
		send:    `{"jsonrpc":"2.0","id":"last","method":"Nobody.Home"}` + "\n",
		answers: []json.RawMessage{[]byte(`{"jsonrpc":"2.0","id":"last","error":{"code":-32601,"message":"…"}}`)},
	}
	last.play(t, here, answers)
	drain()
	var extra json.RawMessage
	require.ErrorIs(t, answers.Decode(&extra), io.EOF, "an answer too many: %s", extra)
	require.NoError(t, <-served)
}

func (x *exchange) play(t *testing.T, conn net.Conn, answers *json.Decoder) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, x.send)
		sent <- err
	}()
	got := make([]json.RawMessage, len(x.answers))
	for i := range got {
		require.NoError(t, answers.Decode(&got[i]), "line %d: --> %s", x.line, x.send)
	}
	require.NoError(t, <-sent)
	if !sameSet(x.answers, got) {
		require.Failf(t, "wrong answers", "line %d: --> %s\nwant: %s\ngot:  %s", x.line, x.send, x.answers, got)
	}
}

// sameSet reports whether each of want matches another one of got.
func sameSet(want, got []json.RawMessage) bool {
	left := append([]json.RawMessage(nil), got...)
	for _, w := range want {
		found := false
		for i, g := range left {
			if matches(w, g) {
				left, found = append(left[:i], left[i+1:]...), true
				break
			}
		}
		if !found {
			return false
		}
	}
	return len(left) == 0
}

// matches compares two JSON texts. Scalars have to be equal byte for byte; the
// wanted string "…" stands for any but the empty; a batch may be in any order.
func matches(want, got json.RawMessage) bool {
	want, got = bytes.TrimSpace(want), bytes.TrimSpace(got)
	switch {
	case want[0] != got[0]:
		return false
	case want[0] == '{':
		w, g := members(want), members(got)
		for name := range w {
			if g[name] == nil || !matches(w[name], g[name]) {
				return false
			}
		}
		return len(w) == len(g)
	case want[0] == '[':
		return sameSet(elements(want), elements(got))
	case string(want) == `"…"`:
		return string(got) != `""`
	}
	return bytes.Equal(want, got)
}

func members(object json.RawMessage) (m map[string]json.RawMessage) {
	_ = json.Unmarshal(object, &m)
	return m
}

func elements(array json.RawMessage) (e []json.RawMessage) {
	_ = json.Unmarshal(array, &e)
	return e
}

func pipePair(testing.TB) (there, here net.Conn) { return net.Pipe() }
