// Package calc is the example service: a plain net/rpc service that knows
// nothing of what carries it, and a typed client for it.
package calc

// Args are the operands.
type Args struct{ A, B float64 }

// Calc is the service.
type Calc struct{}

// Add sets sum to A + B.
func (Calc) Add(args Args, sum *float64) error {
	*sum = args.A + args.B
	return nil
}

// Subtract sets difference to A - B.
func (Calc) Subtract(args Args, difference *float64) error {
	*difference = args.A - args.B
	return nil
}
