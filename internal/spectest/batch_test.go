package spectest_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// TestBatch calls over a Batch of every transport from many goroutines: all
// answers are right, errors are those of their calls, and calls that are given up
// disturb no others.
func TestBatch(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*testing.T) jsonrpc2.ClientConn{
		"stream":                  streamConn,
		"HTTP":                    httpConn,
		"Redis":                   func(t *testing.T) jsonrpc2.ClientConn { return redisConn(t, redisconn.DialOptions{}) },
		"Redis, a list per call":  func(t *testing.T) jsonrpc2.ClientConn { return redisConn(t, redisconn.DialOptions{ReplyPerCall: true}) },
		"RabbitMQ":                func(t *testing.T) jsonrpc2.ClientConn { return rabbitConn(t, amqpconn.DialOptions{}) },
		"RabbitMQ, a queue each":  func(t *testing.T) jsonrpc2.ClientConn { return rabbitConn(t, amqpconn.DialOptions{ReplyPerCall: true}) },
		"RabbitMQ, kept on disks": func(t *testing.T) jsonrpc2.ClientConn { return rabbitConn(t, amqpconn.DialOptions{Persistent: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := &countingConn{ClientConn: connect(t)}
			client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Timeout: servicetest.Soon, Logger: servicetest.Quiet})
			defer client.Close()
			call := func(ctx context.Context, text string) error {
				got, err := jsonrpc2.Call[string](ctx, client, "echo", text)
				if err == nil && got != text {
					return fmt.Errorf("got %q, want %q", got, text)
				}
				return err
			}
			const callers, calls = 64, 20
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for j := range calls {
						ctx, cancel := context.WithCancel(t.Context())
						switch j % 10 {
						case 3:
							_, err := jsonrpc2.Call[string](ctx, client, "gone", nil)
							answer, ok := jsonrpc2.AsError(err)
							assert.True(t, ok && answer.Code == jsonrpc2.CodeMethodNotFound, "%v", err)
						case 5:
							assert.NoError(t, jsonrpc2.Notify(t.Context(), client, "notify_sum", []int{i, j}))
						case 7:
							go cancel()
							if err := call(ctx, "canceled"); err != nil {
								assert.ErrorIs(t, err, context.Canceled)
							}
						default:
							assert.NoError(t, call(ctx, fmt.Sprint(i, " ", j, strings.Repeat(" <&>", j))))
						}
						cancel()
					}
				})
			}
			wg.Wait()
			require.NoError(t, client.Close())
			require.Less(t, conn.messages, callers*calls, "some travelled together")
		})
	}
}

// A countingConn counts the messages that it is given, by one goroutine.
type countingConn struct {
	jsonrpc2.ClientConn
	messages int
}

func (c *countingConn) WriteRequest(r *jsonrpc2.Request) error {
	c.messages++
	return c.ClientConn.WriteRequest(r)
}

func streamConn(t *testing.T) jsonrpc2.ClientConn {
	there, here := net.Pipe()
	serve(t, jsonrpc2.NewStreamConn(there))
	return jsonrpc2.NewStreamConn(here)
}

func httpConn(t *testing.T) jsonrpc2.ClientConn {
	handler := servicetest.Must(httpconn.Listen(nil))
	serve(t, handler)
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return servicetest.Must(httpconn.Dial(web.URL, nil))
}

func redisConn(t *testing.T, opts redisconn.DialOptions) jsonrpc2.ClientConn {
	opts.Logger = servicetest.Quiet
	broker := brokertest.StartRedis(t)
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	serve(t, servicetest.Must(redisconn.Listen(rdb, "spec", &redisconn.ListenOptions{Logger: servicetest.Quiet})))
	return servicetest.Must(redisconn.Dial(rdb, "spec", &opts))
}

func rabbitConn(t *testing.T, opts amqpconn.DialOptions) jsonrpc2.ClientConn {
	opts.Logger = servicetest.Quiet
	opts.Declare = &amqpconn.Queue{}
	url, queue := brokertest.SharedRabbitMQ(t).URL(), t.Name()+" "+rand.Text()
	listen, err := amqpconn.Listen(url, queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	serve(t, listen)
	conn, err := amqpconn.Dial(url, queue, &opts)
	require.NoError(t, err)
	return conn
}

// A server that knows no batches answers one with an error that has no id, and
// RabbitMQ tells which batch that is about.
func TestServerWithoutBatches(t *testing.T) {
	t.Parallel()
	url, queue := brokertest.SharedRabbitMQ(t).URL(), t.Name()+" "+rand.Text()
	rubytest.Start(t, "amqp_server.rb", url, queue, "reply_to")
	conn, err := amqpconn.Dial(url, queue, &amqpconn.DialOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Timeout: servicetest.Soon, Logger: servicetest.Quiet})
	defer client.Close()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 5 {
				sum, err := jsonrpc2.Call[float64](t.Context(), client, "add", []float64{float64(i), 0.5})
				if err == nil { // was alone
					assert.Equal(t, float64(i)+0.5, sum)
					continue
				}
				answer, ok := jsonrpc2.AsError(err)
				assert.True(t, ok, "%v", err)
				assert.Equal(t, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: "Invalid Request"}, answer)
			}
		})
	}
	wg.Wait()
	sum, err := jsonrpc2.Call[float64](t.Context(), client, "add", []float64{1, 5.1})
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}
