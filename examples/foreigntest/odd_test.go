package foreigntest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// unaddressed are messages that can't be answered on a broker.
var unaddressed = []string{
	"", "{", "null", "[]", "\xff", `{"jsonrpc":"2.0","method":1}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":null}`,
	strings.Repeat("[", 3000),
}

// answerable is a request whose answer comes to the list or queue that its id names.
func answerable(id string) (request, answer string) {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"add","params":[1,5.1],"id":%q}`, id),
		fmt.Sprintf(`{"jsonrpc":"2.0","result":6.1,"id":%q}`, id)
}

// odd leaves an answer that nobody takes, after requests that have none.
func (s *redisSite) odd(t *testing.T) {
	request, answer := answerable("there")
	for _, text := range append(unaddressed,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":"late","deadline_ms":1}`,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5,"reply_to":"`+queue+`"}`,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"reply_to":"notified"}`,
		request,
	) {
		require.NoError(t, s.rdb.LPush(t.Context(), queue, text).Err())
	}
	servicetest.Eventually(t, func() bool { return s.rdb.Exists(t.Context(), "there").Val() == 1 })
	require.Equal(t, []string{"there"}, s.rdb.Keys(t.Context(), "*").Val())
	require.InDelta(t, 30*time.Second, s.rdb.TTL(t.Context(), "there").Val(), float64(20*time.Second))
	require.JSONEq(t, answer, s.rdb.LPop(t.Context(), "there").Val())
}

// odd publishes requests of which one has its answer in the queue that its id names.
func (s *amqpSite) odd(t *testing.T) {
	channel := s.channel(t)
	for _, text := range unaddressed {
		s.publish(t, channel, amqp.Publishing{Body: []byte(text)})
	}
	replies, err := channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	answers, err := channel.ConsumeWithContext(t.Context(), replies.Name, "", true, true, false, false, nil)
	require.NoError(t, err)

	request, answer := answerable(replies.Name)
	s.publish(t, channel, amqp.Publishing{Body: []byte(request)})
	require.JSONEq(t, answer, string((<-answers).Body))
	s.publish(t, channel, amqp.Publishing{Body: []byte("{"), ReplyTo: replies.Name, CorrelationId: "7"})
	reply := <-answers
	require.Equal(t, "7", reply.CorrelationId)
	require.Contains(t, string(reply.Body), "-32700")
}

func (s *amqpSite) publish(t *testing.T, channel *amqp.Channel, message amqp.Publishing) {
	t.Helper()
	require.NoError(t, channel.PublishWithContext(t.Context(), "", s.queue, false, false, message))
}

// odd posts what is no request, and notifications.
func (s *httpSite) odd(t *testing.T) {
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for body, want := range map[string]string{
		"{":                             "-32700",
		strings.Repeat("[", 3000):       "-32700",
		"\xff":                          "-32700",
		"[]":                            "-32600",
		"null":                          "-32600",
		`{"method":"add","params":[1]}`: "-32600",
		`{"jsonrpc":"2.0","method":"add","params":[1,5.1],"id":null}`: `"id":null`,
		`{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`:           "",
		`{"jsonrpc":"2.0","method":"multiply"}`:                       "",
	} {
		response, err := web.Post(s.url(), "application/json", strings.NewReader(body))
		require.NoError(t, err)
		got, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		text := strings.ReplaceAll(string(got), " ", "")
		if want == "" {
			require.Equal(t, http.StatusNoContent, response.StatusCode)
			require.Empty(t, text)
			continue
		}
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "application/json", response.Header.Get("Content-Type"))
		require.Contains(t, text, want)
		require.NotContains(t, text, "result\":null")
	}
}
