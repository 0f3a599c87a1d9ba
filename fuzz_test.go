package jsonrpc2_test

import (
	"bytes"
	"encoding/json"
	"net/rpc"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/fuzztest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// addTranscripts adds what the transcripts send as seeds.
func addTranscripts(f *testing.F) {
	for _, name := range []string{"specification", "ids", "envelope", "syntax", "params", "results", "batch", "limits", "names"} {
		for _, x := range readTranscript(f, "testdata/"+name+".txt").exchanges {
			f.Add([]byte(x.send))
		}
	}
}

// FuzzServer sends anything to a server on a stream: it says nothing but JSON,
// and comes to an end.
func FuzzServer(f *testing.F) {
	fuzztest.AddSeeds(f)
	addTranscripts(f)
	server := serverOf(f, Spec{}, Odd{}, calc.Calc{}) // Long may be asked for gigabytes
	opts := &jsonrpc2.ServerOptions{Name: specName, Logger: servicetest.Quiet}
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		conn := jsonrpc2.NewStreamConn(stdio{bytes.NewReader(stream), &out, func() error { return nil }})
		require.NoError(t, jsonrpc2.Serve(t.Context(), server, conn, opts))
		for line := range strings.Lines(out.String()) {
			require.True(t, json.Valid([]byte(line)) && utf8.ValidString(line), "%q", line)
			require.True(t, strings.HasSuffix(line, "\n"))
		}
	})
}

// FuzzClient answers a call with anything, in which ID stands for its id, and
// then properly: the call ends by either, and the client lives.
func FuzzClient(f *testing.F) {
	fuzztest.AddSeeds(f)
	addTranscripts(f)
	for _, reply := range []string{
		`{"id":ID,"result":7}`, `{"id":ID,"error":{"code":1,"message":"m","data":[]}}`, `{"id":ID,"error":"x"}`,
		`[{"id":ID,"result":7},{"id":ID}]`, `{"id":ID,"id":ID}`, `{"id":ID,"result":`, `{"id":"-ID","result":{}}`, `{"id":ID,"method":"x"}`,
	} {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		conn := newScriptedClient()
		codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Timeout: -1})
		p := &peer{client: rpc.NewClientWithCodec(codec), codec: codec}
		for range 2 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = jsonrpc2.Call[any](t.Context(), p.client, "Test.Call", nil)
			}()
			id := idOf(t, <-conn.written)
			conn.messages <- jsonrpc2.Reply{Body: bytes.ReplaceAll(reply, []byte("ID"), id)}
			conn.answer(`{"jsonrpc":"2.0","id":` + string(id) + `,"result":7}`)
			<-done
			p.requireNothingLeft(t)
		}
		require.NoError(t, p.client.Close())
	})
}

func idOf(t *testing.T, text string) []byte {
	var r request
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	return r.ID
}

// FuzzHeader has transports and the codec agree on what is to be answered.
func FuzzHeader(f *testing.F) {
	fuzztest.AddSeeds(f)
	addTranscripts(f)
	f.Add([]byte(`{"jsonrpc":"2.0","id":"x","method":"sum","reply_to":"list"}`))
	f.Add([]byte(`[{"jsonrpc":"2.0","id":1,"method":"sum","reply_to":"li\u0073t"},{"id":"y"}]`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":"x","method":"sum","deadline_ms":-1,"deadline_ms":5}`))
	server := serverOf(f, Spec{}, Odd{}, calc.Calc{}) // Long may be asked for gigabytes
	opts := &jsonrpc2.ServerOptions{Logger: servicetest.Quiet, MaxDepth: 10_000, MaxBatch: 1 << 20}
	f.Fuzz(func(t *testing.T, body []byte) {
		header := new(jsonrpc2.Header)
		header.Scan(body)
		require.Equal(t, json.Valid(body) && utf8.Valid(body), header.Err() == nil)
		require.True(t, utf8.ValidString(header.ID()) && utf8.ValidString(header.ReplyTo()))
		require.GreaterOrEqual(t, header.Deadline(), int64(0))

		replies := make(chan []byte, 10)
		conn := newScriptedServer()
		go func() {
			conn.messages <- jsonrpc2.Delivery{Body: body, Header: header, Reply: func(answer []byte) error {
				replies <- bytes.Clone(answer)
				return nil
			}}
			close(conn.messages)
		}()
		require.NoError(t, jsonrpc2.Serve(t.Context(), server, conn, opts))
		require.Len(t, replies, 1)
		require.Equal(t, header.WantsAnswer(), <-replies != nil, "%q", body)
	})
}

func TestHeader(t *testing.T) {
	for body, want := range map[string]header{
		`{"jsonrpc":"2.0","id":"x","method":"a"}`:                                 {ID: "x", Answer: true},
		`{"jsonrpc":"2.0","id":"x","method":"a","reply_to":"list"}`:               {ID: "x", ReplyTo: "list", Answer: true},
		`{"reply_to":"l\u0069st","id":"\u0078"}`:                                  {ID: "x", ReplyTo: "list", Answer: true},
		`{"jsonrpc":"2.0","id":1,"method":"a","reply_to":5}`:                      {Answer: true},
		`{"jsonrpc":"2.0","id":null,"method":"a"}`:                                {Answer: true},
		`{"jsonrpc":"2.0","method":"a","reply_to":"list"}`:                        {ReplyTo: "list"},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":1766444444444}`:              {Deadline: 1766444444444},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":9223372036854775808}`:        {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":-1}`:                         {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":1.5}`:                        {Deadline: 1},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":1e3}`:                        {Deadline: 1000},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":1.766444444444e12}`:          {Deadline: 1766444444444},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":1e300}`:                      {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":-1e3}`:                       {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":"5"}`:                        {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":null}`:                       {},
		`{"jsonrpc":"2.0","method":"a","deadline_ms":5,"deadline_ms":6}`:          {Deadline: 5},
		`[{"deadline_ms":5,"id":"x"},{"deadline_ms":6,"id":"y"}]`:                 {ID: "x", Deadline: 5, Answer: true},
		`[{"id":"x"},{"deadline_ms":6,"id":"y"}]`:                                 {ID: "x", Answer: true},
		`{"jsonrpc":"2.0","id":"x","result":1}`:                                   {ID: "x"},
		`[{"id":1,"reply_to":"first"},{"id":"x","reply_to":"second"},{"id":"y"}]`: {ID: "x", ReplyTo: "first", Answer: true},
		`[{"jsonrpc":"2.0","method":"a"},{"id":"x","result":1}]`:                  {ID: "x"},
		`[]`: {Answer: true},
		`5`:  {Answer: true},
	} {
		requireHeader(t, body, want)
	}
	for body, want := range map[string]header{
		``:                                     {Answer: true},
		`{"id":"x","reply_to":"list",`:         {ID: "x", ReplyTo: "list", Answer: true},
		`[{"jsonrpc":"2.0","method":"a"}`:      {Answer: true},
		`{"jsonrpc":"2.0","id":"x","result":}`: {ID: "x", Answer: true},
	} {
		want.broken = true
		requireHeader(t, body, want)
	}
}

// A header is what a Header has found.
type header struct {
	ID, ReplyTo string
	Deadline    int64
	Answer      bool
	broken      bool
}

func requireHeader(t *testing.T, body string, want header) {
	t.Helper()
	var h jsonrpc2.Header
	h.Scan([]byte(`[{"id":"before","reply_to":"before"}]`)) // nothing of which is left
	h.Scan([]byte(body))
	require.Equal(t, want, header{h.ID(), h.ReplyTo(), h.Deadline(), h.WantsAnswer(), h.Err() != nil}, body)
}
