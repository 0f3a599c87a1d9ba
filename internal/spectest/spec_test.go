package spectest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// An example is one of the specification's.
type example struct {
	name, request string
	answer        string // "" if there must be none
}

// batchExamples returns those of section 7 that are batches.
func batchExamples(t *testing.T) (batches []example) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/specification.txt")
	require.NoError(t, err)
	var all []example
	name := ""
	for line := range strings.Lines(string(text)) {
		direction, rest, _ := strings.Cut(line, " ")
		switch direction {
		case "#":
			name = strings.TrimSpace(rest)
		case "-->":
			if n := len(all); n == 0 || all[n-1].name != name || all[n-1].answer != "" {
				all = append(all, example{name: name})
			}
			all[len(all)-1].request += rest
		case "<--":
			all[len(all)-1].answer += rest
		}
	}
	for _, e := range all {
		if strings.HasPrefix(e.request, "[") {
			batches = append(batches, e)
		}
	}
	require.Len(t, batches, 6)
	return batches
}

// A peer speaks a transport by hand.
type peer struct {
	send    func(t *testing.T, text string)
	answers <-chan string
	address string // of what it sends, where a message has to say it
}

func TestBatchExamples(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*testing.T) *peer{
		"stream":   streamPeer,
		"HTTP":     httpPeer,
		"Redis":    redisPeer,
		"RabbitMQ": rabbitPeer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t)
			for _, e := range batchExamples(t) {
				p.play(t, e)
			}
		})
	}
}

// play requires the example's answer, and no other.
func (p *peer) play(t *testing.T, e example) {
	t.Helper()
	text, addressed := p.addressed(e.request)
	p.send(t, text)
	if e.answer != "" && addressed {
		got := p.receive(t)
		require.Equal(t, normal(t, e.answer), normal(t, got), "%s: %s", e.name, got)
	}
	last, _ := p.addressed(`{"jsonrpc":"2.0","id":"` + rand.Text() + `","method":"echo","params":["last"]}`)
	p.send(t, last)
	require.Contains(t, p.receive(t), `"result":"last"`, "%s: an answer too many", e.name)
}

// addressed puts the address into the message's first object, and reports
// whether the message has one now, if it needs any.
func (p *peer) addressed(text string) (string, bool) {
	at := strings.IndexByte(text, '{') + 1
	if p.address == "" || at == 0 {
		return text, p.address == ""
	}
	return text[:at] + `"reply_to":"` + p.address + `",` + text[at:], true
}

func (p *peer) receive(t *testing.T) string {
	t.Helper()
	select {
	case answer := <-p.answers:
		return answer
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "no answer")
		return ""
	}
}

// normal decodes a text such that those that mean the same are equal: messages
// may have any wording, and arrays any order.
func normal(t *testing.T, text string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v), text)
	return normalValue(v)
}

func normalValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = normalValue(member)
		}
		if _, ok := v["message"].(string); ok {
			v["message"] = "…"
		}
	case []any:
		for i, element := range v {
			v[i] = normalValue(element)
		}
		slices.SortFunc(v, func(a, b any) int { return bytes.Compare(encoded(a), encoded(b)) })
	}
	return v
}

func encoded(v any) []byte {
	text, _ := json.Marshal(v) // it was decoded
	return text
}

func streamPeer(t *testing.T) *peer {
	there, here := net.Pipe()
	serve(t, jsonrpc2.NewStreamConn(there))
	t.Cleanup(func() { _ = here.Close() })
	answers := make(chan string)
	go func() {
		for d := json.NewDecoder(here); ; {
			var text json.RawMessage
			if d.Decode(&text) != nil {
				return
			}
			answers <- string(text)
		}
	}()
	return &peer{answers: answers, send: func(t *testing.T, text string) {
		t.Helper()
		_, err := io.WriteString(here, text+"\n")
		require.NoError(t, err)
	}}
}

func httpPeer(t *testing.T) *peer {
	handler := servicetest.Must(httpconn.Listen(nil))
	serve(t, handler)
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	answers := make(chan string, 10)
	return &peer{answers: answers, send: func(t *testing.T, text string) {
		t.Helper()
		response, err := web.Client().Post(web.URL, "application/json", strings.NewReader(text))
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		if response.StatusCode == http.StatusNoContent {
			require.Empty(t, body)
			return
		}
		require.Equal(t, http.StatusOK, response.StatusCode)
		answers <- string(body)
	}}
}

// A batch that names no reply list anywhere is neither run nor answered.
func redisPeer(t *testing.T) *peer {
	const replies = "replies"
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, servicetest.Must(redisconn.Listen(rdb, "spec", &redisconn.ListenOptions{Logger: servicetest.Quiet})))
	answers := make(chan string, 10)
	return &peer{answers: answers, address: replies, send: func(t *testing.T, text string) {
		t.Helper()
		require.NoError(t, rdb.LPush(t.Context(), "spec", text).Err())
		go func() {
			if taken, err := rdb.BRPop(context.Background(), servicetest.Soon, replies).Result(); err == nil {
				answers <- taken[1]
			}
		}()
	}}
}

func rabbitPeer(t *testing.T) *peer {
	url, queue := brokertest.SharedRabbitMQ(t).URL(), t.Name()+" "+rand.Text()
	listen, err := amqpconn.Listen(url, queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	require.NoError(t, err)
	_, err = channel.QueueDeclare(queue, true, false, false, false, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = channel.QueueDelete(queue, false, false, false) })
	replies, err := channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	deliveries, err := channel.Consume(replies.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	serve(t, listen)

	answers := make(chan string, 10)
	go func() {
		for d := range deliveries {
			answers <- string(d.Body)
		}
	}()
	return &peer{answers: answers, send: func(t *testing.T, text string) {
		t.Helper()
		require.NoError(t, channel.PublishWithContext(t.Context(), "", queue, false, false,
			amqp.Publishing{ReplyTo: replies.Name, CorrelationId: rand.Text(), Body: []byte(text)}))
	}}
}
