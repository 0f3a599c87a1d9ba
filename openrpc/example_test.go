package openrpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/openrpc"
)

// A Shop is a service.
type Shop struct{}

// A Purchase is what somebody buys.
type Purchase struct {
	Name   string `json:"name"`
	Pieces int    `json:"pieces,omitempty"`
}

// Buy returns the price.
func (Shop) Buy(args Purchase, price *float64) error {
	*price = 1.5 * float64(max(args.Pieces, 1))
	return nil
}

func ExampleNew() {
	server := rpc.NewServer()
	if err := server.Register(Shop{}); err != nil {
		panic(err)
	}
	discovery := openrpc.New(
		openrpc.Info{Title: "Shop", Version: "1.2.0"},
		&openrpc.Options{Service: "Shop"},
		Shop{},
	)
	if err := server.RegisterName("rpc", discovery); err != nil {
		panic(err)
	}
	here, there := jsonrpc2.Pipe()
	go jsonrpc2.Serve(context.Background(), server, there, &jsonrpc2.ServerOptions{Service: "Shop"})

	client := jsonrpc2.NewClient(here, nil)
	defer client.Close()
	document, err := jsonrpc2.Call[struct {
		Methods []struct {
			Name   string
			Params json.RawMessage
		}
	}](context.Background(), client, "rpc.discover", nil)
	if err != nil {
		panic(err)
	}
	for _, method := range document.Methods {
		fmt.Println(method.Name, string(method.Params))
	}
	// Output:
	// buy [{"name":"name","required":true,"schema":{"type":"string"}},{"name":"pieces","schema":{"type":["integer","null"]}}]
}
