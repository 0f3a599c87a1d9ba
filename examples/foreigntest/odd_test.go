package foreigntest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// unaddressed are messages that can't be answered on a broker.
var unaddressed = []string{
	"", "{", "null", "[]", "[1]", "\xff", `{"jsonrpc":"2.0","method":1}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":null}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":""}`,
	`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":"` + longID + `"}`,
	`[{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5},{"jsonrpc":"2.0","method":"add","reply_to":"second"}]`,
	strings.Repeat("[", 3000),
	notified,
}

// longID can't name a reply list or queue, nor be a correlation id.
var longID = strings.Repeat("x", 256)

// answerable is a request whose answer comes to the list or queue that its id names, as long as
// members name no other.
func answerable(id, members string) (request, answer string) {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"add","params":[1,5.1],"id":%q%s}`, id, members),
		fmt.Sprintf(`{"jsonrpc":"2.0","result":6.1,"id":%q}`, id)
}

// odd leaves answers that nobody takes, after requests that have none.
func (s *redisSite) odd(t *testing.T, stderr *servicetest.LogBook) {
	require.NoError(t, s.rdb.Set(t.Context(), "no list", 1, 0).Err())
	answers := make(map[string]string) // by list
	requests := append(unaddressed[:len(unaddressed):len(unaddressed)],
		`[{"jsonrpc":"2.0","method":"add","params":[1,2],"id":"late","deadline_ms":1},{"jsonrpc":"2.0","method":"add","id":1}]`,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5,"reply_to":"`+queue+`"}`,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"reply_to":"notified"}`,
		`{"jsonrpc":"2.0","method":"add","params":[1,2],"id":5,"reply_to":"no list"}`,
	)
	answered := func(list, request, answer string) {
		requests, answers[list] = append(requests, request), answer
	}
	request, answer := batch(`,"reply_to":"batched"`, "other")
	answered("batched", request, answer)
	request, answer = batch("", "second")
	answered("second", request, answer)
	request, answer = answerable("empty", `,"reply_to":"","deadline_ms":null`)
	answered("empty", request, answer)
	over, open := s.deadlines(t)
	for _, deadline := range over {
		request, _ = answerable("late", `,"deadline_ms":`+deadline)
		requests = append(requests, request)
	}
	for i, deadline := range open {
		list := fmt.Sprintf("open %d", i)
		request, answer = answerable(list, `,"deadline_ms":`+deadline)
		answered(list, request, answer)
	}
	request, answer = answerable("last", "")
	answered("last", request, answer)

	for _, text := range requests {
		require.NoError(t, s.rdb.LPush(t.Context(), queue, text).Err())
	}
	servicetest.Eventually(t, func() bool { return s.rdb.Exists(t.Context(), "last").Val() == 1 })
	servicetest.Eventually(t, func() bool { return refusal.MatchString(stderr.String()) })
	require.EqualValues(t, 1, s.rdb.Del(t.Context(), "no list").Val())
	require.ElementsMatch(t, slices.Collect(maps.Keys(answers)), s.rdb.Keys(t.Context(), "*").Val())
	for list, answer := range answers {
		require.InDelta(t, 30*time.Second, s.rdb.TTL(t.Context(), list).Val(), float64(20*time.Second))
		require.JSONEq(t, answer, s.rdb.LPop(t.Context(), list).Val())
		require.Zero(t, s.rdb.LLen(t.Context(), list).Val())
	}
}

// refusal is what a server says of the reply list "no list".
var refusal = regexp.MustCompile("(?m)^no answer on no list: .*WRONGTYPE")

// deadlines returns values of deadline_ms that are over, and others that are not over or count
// as none.
func (s *redisSite) deadlines(t *testing.T) (over, open []string) {
	now, err := s.rdb.Time(t.Context()).Result()
	require.NoError(t, err)
	fraction := func(t time.Time) string { return fmt.Sprintf("%d.5", t.UnixMilli()) }
	return []string{"1", fraction(now.Add(-time.Minute))},
		[]string{"0", "-1", "-0.5", "true", `"1"`, "[1]", fraction(now.Add(time.Hour))}
}

// odd publishes requests that have no answer, and others whose addresses and correlation ids
// are in their properties or their ids.
func (s *amqpSite) odd(t *testing.T, _ *servicetest.LogBook) {
	channel := s.channel(t)
	for _, text := range unaddressed {
		s.publish(t, channel, amqp.Publishing{Body: []byte(text)})
	}
	replies, err := channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	answers, err := channel.ConsumeWithContext(t.Context(), replies.Name, "", true, true, false, false, nil)
	require.NoError(t, err)

	for _, test := range []struct {
		id, replyTo, correlation string
		want                     string // correlation id
	}{
		{id: replies.Name, want: replies.Name},
		{id: "7", replyTo: replies.Name, want: "7"},
		{id: "7", replyTo: replies.Name, correlation: "8", want: "8"},
		{id: longID, replyTo: replies.Name},
	} {
		for _, kind := range []func(id, members string) (request, answer string){
			answerable,
			func(id, members string) (request, answer string) { return batch(members, id) },
		} {
			request, answer := kind(test.id, "")
			s.publish(t, channel, amqp.Publishing{Body: []byte(request), ReplyTo: test.replyTo, CorrelationId: test.correlation})
			reply := <-answers
			require.JSONEq(t, answer, string(reply.Body))
			require.Equal(t, test.want, reply.CorrelationId)
		}
	}
	s.publish(t, channel, amqp.Publishing{Body: []byte("{"), ReplyTo: replies.Name, CorrelationId: "7"})
	reply := <-answers
	require.Equal(t, "7", reply.CorrelationId)
	require.Contains(t, string(reply.Body), "-32700")
}

func (s *amqpSite) publish(t *testing.T, channel *amqp.Channel, message amqp.Publishing) {
	t.Helper()
	require.NoError(t, channel.PublishWithContext(t.Context(), "", s.queue, false, false, message))
}
