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

	// Doc has the doc comments of methods, types and fields. A key is package.Type,
	// package.Type.Method or package.Type.Field, with the package's name (not its path) and
	// without type arguments. A method's key has the type of the receiver, a field's key the
	// struct that declares it. The command openrpcdoc makes such a map of the source.
	Doc map[string]string

	// Errors lists the errors that a method itself returns. The key is the net/rpc name,
	// such as Calc.Add. Errors that any method may return are added by New.
	Errors map[string][]jsonrpc2.Error

	// Schema, if set, returns the JSON Schema (draft 7) of t. If it returns nil, New makes
	// the schema. It is for types that encode themselves, for enumerations and the like. t is
	// never a pointer: for *T Schema gets T. If the params are the fields or elements of an
	// argument, Schema gets their types, and not that of the argument. encoding/json must be
	// able to encode the result.
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

// Document returns the document, which the caller may change. It fails if a receiver is nil, has
// no name or no methods for net/rpc, if its type is not exported and [Named] gives no name, if
// two methods have the same name on the wire, if Options.Errors has a method that is not there,
// or if encoding/json can't encode what Options.Schema has returned.
func (d *Discovery) Document() (json.RawMessage, error) { return slices.Clone(d.document), d.err }
