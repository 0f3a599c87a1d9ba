package calc

import (
	"context"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
)

// A Client calls a Calc over whatever its Conn is. It is safe for concurrent
// use.
type Client struct {
	rpc *rpc.Client
}

// NewClient returns a client that calls over conn, which it owns. Methods travel
// as add and subtract, with positional params, as programs in other languages
// serve them.
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

// Close closes the Conn. Calls that wait fail.
func (c *Client) Close() error { return c.rpc.Close() }
