module github.com/micromessaging/jsonrpc2/examples/hooks

go 1.26.0

replace github.com/micromessaging/jsonrpc2 => ../..

require (
	github.com/micromessaging/jsonrpc2 v0.0.0
	golang.org/x/time v0.16.0
)
