package foreigntest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// invalidRequest is the answer to an item of a batch that is no request.
const invalidRequest = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid Request"}}`

// batch returns a batch of two calls, a notification, and what is no request, and the answer to
// it. first stands for the members of the first call that are not in the second.
func batch(first, id string) (request, answer string) {
	call := `{"jsonrpc":"2.0","method":"add","params":[1,5.1],"id":`
	notification := `{"jsonrpc":"2.0","method":"multiply"}`
	return fmt.Sprintf(`[%s1%s},%s%q},%s,1,[],{"method":"add"}]`, call, first, call, id, notification),
		fmt.Sprintf(`[{"jsonrpc":"2.0","id":1,"result":6.1},{"jsonrpc":"2.0","id":%q,"result":6.1},%[2]s,%[2]s,%[2]s]`, id, invalidRequest)
}

// notified is a batch without an answer.
const notified = `[{"jsonrpc":"2.0","method":"add","params":[1,2],"reply_to":"notified"},{"jsonrpc":"2.0","method":"multiply"}]`

// A batchCounter counts the batches that it hands to its Conn.
type batchCounter struct {
	jsonrpc2.ClientConn
	batches atomic.Int64
}

func (c *batchCounter) WriteRequest(r *jsonrpc2.Request) error {
	if r.Body[0] == '[' {
		c.batches.Add(1)
	}
	return c.ClientConn.WriteRequest(r)
}

// requireBatches requires that a server answers the calls that jsonrpc2.Batch joins: each with
// its own result or error.
func requireBatches(t *testing.T, s site) {
	t.Helper()
	counter := &batchCounter{ClientConn: s.dial(false)}
	client := newClient(t, jsonrpc2.Batch(counter, nil))
	for counter.batches.Load() == 0 { // when they join is up to the scheduler
		var calls sync.WaitGroup
		for i := range callers {
			calls.Go(func() {
				if i%5 > 0 {
					assert.NoError(t, servicetest.AddMany(client, i, 5))
					return
				}
				_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Multiply", Named{1, 5})
				if e, ok := jsonrpc2.AsError(err); assert.True(t, ok, "got %v", err) {
					assert.EqualValues(t, jsonrpc2.CodeMethodNotFound, e.Code)
				}
			})
		}
		calls.Wait()
		require.False(t, t.Failed())
	}
	require.NoError(t, client.Close())
}
