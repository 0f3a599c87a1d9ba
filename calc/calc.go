// Package calc is an example: a plain net/rpc service, which knows nothing of JSON-RPC or of
// a transport, and a typed client for it. The command cmd/calc serves and calls it.
package calc

// Args are the operands of a method.
type Args struct{ A, B float64 }

// Calc is the service. A server registers it with rpc.Server.Register.
type Calc struct{}

// Add sets sum to A + B. It returns no error.
func (Calc) Add(args Args, sum *float64) error {
	*sum = args.A + args.B
	return nil
}

// Subtract sets difference to A - B. It returns no error.
func (Calc) Subtract(args Args, difference *float64) error {
	*difference = args.A - args.B
	return nil
}
