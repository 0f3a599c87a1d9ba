// Package openrpc describes net/rpc services that jsonrpc2 serves: it answers the method
// rpc.discover with an OpenRPC document (https://spec.open-rpc.org), version 1.3.2.
//
//	server := rpc.NewServer()
//	err := server.Register(Calc{})
//	err = server.RegisterName("rpc", openrpc.New(
//		openrpc.Info{Title: "Calc", Version: "1.0.0"},
//		&openrpc.Options{Service: "Calc"}, // as in ServerOptions
//		Calc{},
//	))
//	err = jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
//
// A server of jsonrpc2 takes rpc.discover for the method Discover of the service "rpc",
// whatever its options Service and Name say. Who may call it sees all methods: to refuse it
// to some, use ServerOptions.Begin.
//
// # Methods and params
//
// [New] finds the methods that net/rpc takes, by reflection. Their names are those on the
// wire, by the options Service and Name. The params are:
//
//   - of a struct its fields, as encoding/json knows them, by position or by name. A
//     jsonrpc2.Context is none of them.
//   - of an array its elements, by position.
//   - of a number, a string, a bool, a map, bytes, or a type that encodes itself, one param by
//     position, called value.
//   - of any other slice, of an interface and of a json.RawMessage one param that stands for any
//     number. It has the member x-variadic, since OpenRPC has no word for it.
//
// A field is required where ServerOptions.Strict wants it: if it is no pointer, if its tag has
// neither omitempty nor omitzero, and if it is behind no embedded pointer. OpenRPC wants
// optional params last. So a param that stands before a required one is required, too, and
// may be null.
//
// The errors of a method are those that a server answers with by itself, and those of
// Options.Errors.
//
// # Schemas
//
// A schema (JSON Schema, draft 7) says how encoding/json encodes a type. Each named type has
// one under components/schemas, under its name, or with its package if another has the same.
// Types may refer to themselves. Nil slices, maps and pointers are null, except in fields with
// omitempty. A time.Time is a date-time, a type with MarshalText a string, a json.Number and a
// big.Int a number. Of other types that encode themselves nothing is known, and anything is
// allowed, unless Options.Schema tells more.
//
// # Descriptions
//
// Reflection finds no comments. The command openrpcdoc makes a map of them for Options.Doc,
// when it is run by go generate:
//
//	//go:generate go run github.com/micromessaging/jsonrpc2/openrpc/cmd/openrpcdoc -o openrpc_doc.go
//
// The first sentence of a method's comment is its summary.
package openrpc
