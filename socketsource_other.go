//go:build !unix

package jsonrpc2

// newSocketSource returns none: sockets are read by their Read.
func newSocketSource(*deadlineSource) (source, bool) { return nil, false }
