// Package hooks shows a jsonrpc2.BeginFunc that needs another module. Its [Limiter] limits
// the calls per second of each tenant, with golang.org/x/time/rate. The examples of package
// jsonrpc2 show hooks that need no other module.
package hooks
