package docstest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// shellWords returns the words of a command line, of which some are in single quotes.
func shellWords(line string) (words []string) {
	for _, word := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(line, -1) {
		words = append(words, strings.Trim(word, "'"))
	}
	return words
}

// A rabbitUser is a user of the page with its three patterns.
type rabbitUser struct {
	name     string
	patterns [3]string
}

var rightsOfPatterns = [3]string{"right to configure", "right to write", "right to read"}

// rabbitUsers runs the page's commands, and returns the users that they make.
func rabbitUsers(t *testing.T, broker *brokertest.RabbitMQ) map[string]*rabbitUser {
	t.Helper()
	users := make(map[string]*rabbitUser)
	for _, block := range fencedBlocks(t, operationsPage, "sh") {
		for line := range strings.Lines(block) {
			words := shellWords(line)
			require.Equal(t, "rabbitmqctl", words[0])
			if words[1] == "set_permissions" {
				u := &rabbitUser{words[2], [3]string(words[3:])}
				users[u.name] = u
				if !strings.Contains(block, "add_user "+u.name+" ") {
					broker.Eval(fmt.Sprintf(`ok = rabbit_auth_backend_internal:add_user(<<%q>>, <<"secret">>, <<"test">>)`, u.name))
				}
			}
			broker.Ctl(words[1:]...)
		}
	}
	return users
}

// at returns the URL by which a user connects.
func (u *rabbitUser) at(broker *brokertest.RabbitMQ) string {
	return fmt.Sprintf("amqp://%s:secret@%s/", u.name, broker.Addr)
}

// eachLess calls f with each of the user's patterns in turn taken away, and then gives
// all back.
func (u *rabbitUser) eachLess(t *testing.T, broker *brokertest.RabbitMQ, f func(right string)) {
	t.Helper()
	set := func(p [3]string) {
		broker.Eval(fmt.Sprintf(`ok = rabbit_auth_backend_internal:set_permissions(<<%q>>, <<"/">>, <<%q>>, <<%q>>, <<%q>>, <<"test">>)`,
			u.name, p[0], p[1], p[2]))
	}
	for i, right := range rightsOfPatterns {
		less := u.patterns
		less[i] = "^$"
		set(less)
		f(right)
	}
	set(u.patterns)
}

// The users of the page work on RabbitMQ, and without any one of their rights an error or a
// line in the log names it.
func TestRabbitMQUsersInPage(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRabbitMQ(t)
	users := rabbitUsers(t, broker)
	require.Len(t, users, 4)
	requireRabbitServer(t, broker, users["calc-server"], amqpconn.Queue{})
	requireRabbitClient(t, broker, users)
	broker.Eval(deleteQueue("calc"))
	requireRabbitServer(t, broker, users["calc-server-dead"], amqpconn.Queue{DeadLetter: true})
	requireRabbitOperator(t, broker, users["calc-operator"])
}

func serveRabbit(t *testing.T, broker *brokertest.RabbitMQ, u *rabbitUser, queue amqpconn.Queue, log *servicetest.LogBook) *servicetest.Server {
	t.Helper()
	return servicetest.Serve(t, servicetest.Must(amqpconn.Listen(u.at(broker), "calc", &amqpconn.ListenOptions{Queue: queue, Logger: log.Logger()})), quietServer)
}

func callRabbit(t *testing.T, url string) error {
	t.Helper()
	conn := servicetest.Must(amqpconn.Dial(url, "calc", &amqpconn.DialOptions{Logger: servicetest.Quiet}))
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Logger: servicetest.Quiet})
	defer client.Close()
	for begin := time.Now(); ; { // a call waits for a connection for 1.5 s only
		_, err := servicetest.Add(client, 1, 5.1)
		if err == nil || !strings.Contains(err.Error(), "still connecting") || time.Since(begin) > servicetest.Soon {
			return err
		}
	}
}

// requireRabbitServer requires that a user can serve, and create the queue.
func requireRabbitServer(t *testing.T, broker *brokertest.RabbitMQ, u *rabbitUser, queue amqpconn.Queue) {
	t.Helper()
	u.eachLess(t, broker, func(right string) {
		var log servicetest.LogBook
		w := serveRabbit(t, broker, u, queue, &log)
		servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", right, "403") > 0 }, right)
		w.End(t)
		if right != rightsOfPatterns[0] { // else there is none
			broker.Eval(deleteQueue("calc") + ", " + deleteQueue("calc.dead"))
		}
	})
	var log servicetest.LogBook
	w := serveRabbit(t, broker, u, queue, &log)
	servicetest.Eventually(t, func() bool { return callRabbit(t, broker.URL()) == nil })
	w.End(t)
	require.Empty(t, log.String())
}

// deleteQueue returns an expression that deletes a queue if it exists.
func deleteQueue(name string) string {
	return fmt.Sprintf(`case rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<%q>>)) of `+
		`{ok, Q%[2]d} -> rabbit_amqqueue:delete(Q%[2]d, false, false, <<"test">>); _ -> ok end`, name, len(name))
}

// requireRabbitClient requires that the page's client can call the page's server.
func requireRabbitClient(t *testing.T, broker *brokertest.RabbitMQ, users map[string]*rabbitUser) {
	t.Helper()
	var log servicetest.LogBook
	w := serveRabbit(t, broker, users["calc-server"], amqpconn.Queue{}, &log)
	client := users["calc-client"]
	require.NoError(t, callRabbit(t, client.at(broker)))
	client.eachLess(t, broker, func(right string) {
		err := callRabbit(t, client.at(broker))
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable, right)
		require.ErrorContains(t, err, right)
	})
	w.End(t)
}

// requireRabbitOperator requires that a user can look after dead requests.
func requireRabbitOperator(t *testing.T, broker *brokertest.RabbitMQ, u *rabbitUser) {
	t.Helper()
	operate := func() error {
		buryInRabbit(t, broker)
		list, err := amqpconn.NewDeadList(u.at(broker), "calc", nil)
		require.NoError(t, err)
		dead, err := list.List(t.Context(), 1)
		if err == nil {
			_, err = list.Requeue(t.Context(), dead[0])
		}
		return err
	}
	require.NoError(t, operate())
	u.eachLess(t, broker, func(right string) {
		err := operate()
		require.ErrorContains(t, err, right)
		require.ErrorContains(t, err, "403")
	})
}

// buryInRabbit makes a request dead: a server rejects it.
func buryInRabbit(t *testing.T, broker *brokertest.RabbitMQ) {
	t.Helper()
	conn, err := amqp.Dial(broker.URL())
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.PublishWithContext(t.Context(), "", "calc", false, false, amqp.Publishing{Body: []byte(`{"jsonrpc":"2.0","method":"add"}`)}))
	servicetest.Eventually(t, func() bool {
		d, ok, err := ch.Get("calc", false)
		require.NoError(t, err)
		return ok && d.Reject(false) == nil
	})
	servicetest.Eventually(t, func() bool {
		q, err := ch.QueueDeclarePassive("calc.dead", false, false, false, false, nil)
		require.NoError(t, err)
		return q.Messages > 0
	})
}
