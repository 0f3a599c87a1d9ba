package calc

import (
	"context"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
)

// A Client calls a [Calc] over any transport. It is safe for concurrent use. The errors of
// its methods are those of [jsonrpc2.Call].
type Client struct {
	rpc *rpc.Client
}

// NewClient returns a client that calls over conn, and owns it: Close closes conn, too. The
// client sends the method names add and subtract, and params as an array. Servers in other
// languages thus need to know nothing of Go's names.
func NewClient(conn jsonrpc2.ClientConn) *Client {
	return &Client{jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true})}
}

// Add returns a + b.
func (c *Client) Add(ctx context.Context, a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](ctx, c.rpc, "Calc.Add", Args{a, b})
}

// Subtract returns a - b.
func (c *Client) Subtract(ctx context.Context, a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](ctx, c.rpc, "Calc.Subtract", Args{a, b})
}

// Close closes the client and its Conn. Calls that wait fail with jsonrpc2.ErrReplyLost.
func (c *Client) Close() error { return c.rpc.Close() }
