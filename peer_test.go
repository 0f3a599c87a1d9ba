package jsonrpc2_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/rpc"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A peer is the other end of a client: it shows what came, and answers as it is
// told to.
type peer struct {
	client   *rpc.Client
	codec    rpc.ClientCodec
	conn     net.Conn
	requests chan request
}

type request struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	text   string
}

// newPeer returns a peer whose client is open until the end of the test.
func newPeer(t *testing.T, opts jsonrpc2.ClientOptions) *peer {
	there, here := net.Pipe()
	if opts.Logger == nil {
		opts.Logger = servicetest.Quiet
	}
	p := &peer{conn: there, requests: make(chan request, 10_000)}
	p.codec = jsonrpc2.NewClientCodec(jsonrpc2.NewStreamConn(here), &opts)
	p.client = rpc.NewClientWithCodec(p.codec)
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(t)
	}()
	t.Cleanup(func() {
		_ = p.client.Close()
		_ = p.codec.Close() // where the client ended by itself
		<-read
		_ = there.Close()
	})
	return p
}

func (p *peer) read(t *testing.T) {
	defer close(p.requests)
	for d := json.NewDecoder(p.conn); ; {
		var text json.RawMessage
		err := d.Decode(&text)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
			return
		}
		r := request{text: string(text)}
		if !assert.NoError(t, err) || !assert.NoError(t, json.Unmarshal(text, &r)) {
			return
		}
		p.requests <- r
	}
}

// send sends a text, in which ID stands for the id of r, and -ID for what is
// between its quotes.
func (p *peer) send(t *testing.T, r request, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "-ID", strings.Trim(string(r.ID), `"`))
	text = strings.ReplaceAll(text, "ID", string(r.ID))
	_, err := io.WriteString(p.conn, text+"\n")
	require.NoError(t, err)
}

func (p *peer) answer(t *testing.T, r request, result string) {
	t.Helper()
	p.send(t, r, `{"jsonrpc":"2.0","id":ID,"result":`+result+`}`)
}

// requireNothingLeft makes sure that neither the codec nor net/rpc waits for an
// answer.
func (p *peer) requireNothingLeft(t *testing.T) {
	t.Helper()
	calls, failures := jsonrpc2.Pending(p.codec)
	require.Zero(t, calls, "calls that the codec waits for")
	require.Zero(t, failures, "failures to be told")
	require.Zero(t, reflect.ValueOf(p.client).Elem().FieldByName("pending").Len(), "calls that net/rpc waits for")
}

// requireAlive makes sure that the client works.
func (p *peer) requireAlive(t *testing.T) {
	t.Helper()
	var reply string
	call := p.client.Go("Test.Alive", nil, &reply, nil)
	p.answer(t, <-p.requests, `"yes"`)
	require.NoError(t, (<-call.Done).Error)
	require.Equal(t, "yes", reply)
}
