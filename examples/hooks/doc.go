// Package hooks shows a jsonrpc2.BeginFunc that needs another module: a limit of the calls
// per second and tenant, with golang.org/x/time/rate. Those that need none are among the
// examples of package jsonrpc2.
package hooks
