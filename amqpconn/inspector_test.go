package amqpconn_test

import (
	"context"
	"fmt"
	"net/rpc"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// requireTimeout requires a timeout whose error tells more.
func requireTimeout(t *testing.T, err error, words string) {
	t.Helper()
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.NotErrorIs(t, err, jsonrpc2.ErrNotRun)
	require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrTimeout.Error()), err)
	require.ErrorContains(t, err, words)
}

// The error of a call that timed out tells how many consumers there are.
func TestTimeoutTellsConsumers(t *testing.T) {
	t.Parallel()
	for consumers, words := range []string{"has no consumer; messages waiting: ", ": 1; messages waiting: 0", ": 2; messages waiting: 0"} {
		t.Run(fmt.Sprint(consumers), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.declare(t, true, false, nil)
			slow := servicetest.NewSlow()
			for range consumers {
				serve(t, s, nil, slow)
			}
			c := dial(t, s, nil, servicetest.Soon)
			if consumers > 0 {
				c.requireAdds(t) // it is connected
			}
			var err error
			servicetest.Eventually(t, func() bool { // the broker has half a second to tell
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				_, err = jsonrpc2.Call[int](ctx, c.Client, "Slow.Wait", 1)
				return strings.Contains(err.Error(), fmt.Sprintf("queue %q", s.queue))
			})
			requireTimeout(t, err, words)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			slow.Open()
		})
	}
}

// It tells when the queue has gone, also where a Batch is in between.
func TestTimeoutTellsMissingQueue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	conn := dialConn(t, s, amqpconn.DialOptions{})
	client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Timeout: 6 * time.Second, Logger: servicetest.Quiet})
	defer client.Close()
	for begin, told := time.Now(), false; !told; { // the broker has half a second to tell
		require.Less(t, time.Since(begin), servicetest.Soon)
		s.declare(t, true, false, nil)
		call := client.Go("Calc.Add", calc.Args{}, nil, nil)
		s.requireWaiting(t, 1)
		s.delete(t)
		err := (<-call.Done).Error
		require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrTimeout.Error()), err)
		told = strings.Contains(err.Error(), fmt.Sprintf("queue %q does not exist", s.queue))
	}
}

// No more requests wait in the queue than the limit says: further calls fail at
// once, unsent, until servers have caught up.
func TestMaxBacklog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	c := dial(t, s, &amqpconn.DialOptions{MaxBacklog: 5, Logger: servicetest.Quiet}, servicetest.Soon)
	c.conn.SetLookTime(servicetest.Soon) // a call is sent when a look is not answered
	done := make(chan *rpc.Call, 5)
	for range 5 {
		c.Go("Calc.Add", []float64{1, 5.1}, new(float64), done)
	}
	s.requireWaiting(t, 5)
	for range 3 {
		_, err := c.add(1, 5.1)
		require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
		require.ErrorContains(t, err, fmt.Sprintf("messages waiting in queue %q: 5", s.queue))
	}
	s.requireWaiting(t, 5)
	require.EqualValues(t, 3, c.conn.Stats().Overloaded)
	require.EqualValues(t, 5, c.conn.Stats().Requests)

	serve(t, s, nil)
	for range 5 {
		require.NoError(t, (<-done).Error)
	}
	c.requireRecovers(t)
	s.requireWaiting(t, 0)
}

func TestMaxBacklogBad(t *testing.T) {
	t.Parallel()
	_, err := amqpconn.Dial("amqp://localhost", "calc", &amqpconn.DialOptions{MaxBacklog: -1})
	require.EqualError(t, err, `amqpconn: queue "calc": MaxBacklog is -1, less than 0`)
}
