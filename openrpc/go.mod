module github.com/micromessaging/jsonrpc2/openrpc

go 1.26.0

replace github.com/micromessaging/jsonrpc2 => ..

require (
	github.com/micromessaging/jsonrpc2 v0.0.0
	github.com/stretchr/testify v1.12.1
	go.uber.org/goleak v1.3.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
