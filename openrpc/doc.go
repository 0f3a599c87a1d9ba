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
// A field is optional if it is a pointer, if its tag has omitempty or omitzero, or if it is
// behind an embedded pointer. All others are required. ServerOptions.Strict also wants all
// fields behind an embedded pointer if one is present; the document can't say that. An optional
// param may be null. If it stands before a required one, it is required, too, since OpenRPC
// wants optional params last.
//
// Each method lists the errors InvalidParams, InternalError and ServerError. Options.Errors adds
// its own.
//
// # Schemas
//
// A schema (JSON Schema, draft 7) says how encoding/json encodes a type. Each named type has
// one under components/schemas, under its name, or with its package if another has the same.
// Types may refer to themselves. Nil slices, maps and pointers are null, except in fields with
// omitempty or omitzero. A time.Time is a date-time string, a json.Number a number, a big.Int an
// integer, a type with both MarshalText and UnmarshalText a string. Other types with methods for
// JSON or text may be anything, unless Options.Schema says more. So may the values of a map if
// only a pointer to them has such a method, since encoding/json does not call it there.
//
// # Descriptions
//
// Reflection finds no comments. The command openrpcdoc makes a map of them for Options.Doc,
// when it is run by go generate:
//
//	//go:generate go run github.com/micromessaging/jsonrpc2/openrpc/cmd/openrpcdoc -o openrpc_doc.go
//
// The first sentence of a method's comment is its summary. The command knows a method by the
// type that declares it. If a receiver only embeds that type, add the comment under the key of
// the receiver's type.
package openrpc
