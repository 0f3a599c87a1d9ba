package openrpc

import (
	"encoding/json"
	"reflect"
	"slices"

	"github.com/micromessaging/jsonrpc2"
)

// Info is what a document says of the whole.
type Info struct {
	Title          string   `json:"title"`
	Description    string   `json:"description,omitempty"` // may be Markdown
	TermsOfService string   `json:"termsOfService,omitempty"`
	Contact        *Contact `json:"contact,omitempty"`
	License        *License `json:"license,omitempty"`
	Version        string   `json:"version"` // of the service, not of OpenRPC
}

// A Contact is whom to ask.
type Contact struct {
	Name  string `json:"name,omitempty"`
	URL   string `json:"url,omitempty"`
	Email string `json:"email,omitempty"`
}

// A License is that of the service.
type License struct {
	Name string `json:"name,omitempty"`
	URL  string `json:"url,omitempty"`
}

// Options are the options of New. The zero value is useful, and so is a nil pointer to it.
type Options struct {
	// Service is that of jsonrpc2.ServerOptions: with "Calc", the method Calc.Add is
	// described as add. Methods of other services have their full names.
	Service string

	// Name, if set, is used in place of Service. It returns the name on the wire of a
	// method such as Calc.Add, as that of jsonrpc2.ClientOptions does. It is the reverse
	// of the Name of jsonrpc2.ServerOptions.
	Name func(serviceMethod string) string

	// Doc has the doc comments of methods, types and fields. The keys are as Go code of
	// another package writes them: calc.Calc.Add, calc.Args, calc.Args.A. The command
	// openrpcdoc makes such a map of the source.
	Doc map[string]string

	// Errors are the errors that a method chooses itself, by its net/rpc name such as
	// Calc.Add. Those that any method may fail with are described without them.
	Errors map[string][]jsonrpc2.Error

	// Schema, if set, returns the JSON Schema (draft 7) of a type, or nil for that which
	// New makes. It is for types that encode themselves, for enumerations and the like.
	// encoding/json must be able to encode what it returns.
	Schema func(t reflect.Type) any
}

// A Discovery is a net/rpc service that describes other services.
type Discovery struct {
	document json.RawMessage
	err      error
}

// New returns a service that describes the receivers, which are what the program gives to
// rpc.Register, or are made by [Named]. Register it under the name "rpc":
//
//	err := server.RegisterName("rpc", openrpc.New(info, nil, Calc{}))
//
// New makes the document. If it can't be made, calls of rpc.discover fail, and so does
// Document.
func New(info Info, opts *Options, receivers ...any) *Discovery {
	if opts == nil {
		opts = new(Options)
	}
	d := new(Discovery)
	d.document, d.err = describe(info, opts, receivers)
	return d
}

// A named is a receiver with the name that it is registered under.
type named struct {
	name     string
	receiver any
}

// Named returns a receiver for [New] that the program gives to rpc.RegisterName.
func Named(name string, receiver any) any { return named{name, receiver} }

// Discover is the method rpc.discover. It takes no params.
func (d *Discovery) Discover(_ struct{}, document *json.RawMessage) (err error) {
	*document, err = d.Document()
	return err
}

// Document returns the document. It fails if a receiver has no methods for net/rpc, if two
// methods have the same name on the wire, if Options.Errors has a method that is not there, or
// if encoding/json can't encode what Options.Schema has returned.
func (d *Discovery) Document() (json.RawMessage, error) { return slices.Clone(d.document), d.err }
