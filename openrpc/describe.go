package openrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/token"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/micromessaging/jsonrpc2"
)

// serverErrors are the errors that a server of jsonrpc2 answers with by itself. In an answer the
// message is longer.
var serverErrors = map[string]jsonrpc2.Error{
	"ParseError":     {Code: jsonrpc2.CodeParse, Message: "parse error"},
	"InvalidRequest": {Code: jsonrpc2.CodeInvalidRequest, Message: "invalid request"},
	"MethodNotFound": {Code: jsonrpc2.CodeMethodNotFound, Message: "method not found"},
	"InvalidParams":  {Code: jsonrpc2.CodeInvalidParams, Message: "invalid params"},
	"InternalError":  {Code: jsonrpc2.CodeInternal, Message: "internal error"},
	"ServerError":    {Code: jsonrpc2.CodeServer, Message: "the method failed, or was not run"},
}

// methodErrors are those that a call of a known method may get.
var methodErrors = []string{"InvalidParams", "InternalError", "ServerError"}

// A describer makes one document.
type describer struct {
	*reflector
	opts    *Options
	goNames map[string]string // of the methods so far, by their names on the wire
	methods []*method
}

// describe returns the document.
func describe(info Info, opts *Options, receivers []any) (json.RawMessage, error) {
	d := &describer{reflector: newReflector(opts), opts: opts, goNames: make(map[string]string)}
	for _, receiver := range receivers {
		n, err := nameOf(receiver)
		if err != nil {
			return nil, err
		}
		if err := d.service(n); err != nil {
			return nil, err
		}
	}
	for _, goName := range slices.Sorted(maps.Keys(opts.Errors)) {
		if d.goNames[d.wireName(goName)] != goName {
			return nil, fmt.Errorf("openrpc: Options.Errors has a method that is not there: %s", goName)
		}
	}
	slices.SortFunc(d.methods, func(a, b *method) int { return strings.Compare(a.Name, b.Name) })
	return json.Marshal(document{
		OpenRPC:    version,
		Info:       info,
		Methods:    append([]*method{}, d.methods...), // never null
		Components: components{Schemas: d.schemas, Errors: serverErrors},
	})
}

// nameOf returns a receiver with the name that net/rpc registers it under.
func nameOf(receiver any) (named, error) {
	n, isNamed := receiver.(named)
	if !isNamed {
		n.receiver = receiver
	}
	t := reflect.TypeOf(n.receiver)
	if t == nil {
		return n, errors.New("openrpc: a receiver is nil")
	}
	if !isNamed {
		n.name = elemOf(t).Name()
	}
	switch {
	case n.name == "":
		return n, fmt.Errorf("openrpc: %v has no name", t)
	case !isNamed && !token.IsExported(n.name):
		return n, fmt.Errorf("openrpc: the type %s is not exported", n.name)
	}
	return n, nil
}

// service describes the methods of a receiver.
func (d *describer) service(n named) error {
	t := reflect.TypeOf(n.receiver)
	before := len(d.methods)
	for m := range t.Methods() {
		if args, reply, ok := signature(m); ok {
			if err := d.method(n.name+"."+m.Name, docKey(elemOf(t))+"."+m.Name, args, reply); err != nil {
				return err
			}
		}
	}
	if len(d.methods) == before {
		return fmt.Errorf("openrpc: %v has no methods for net/rpc", t)
	}
	return nil
}

// signature returns the types of a method's argument and result. It reports whether net/rpc
// takes the method.
func signature(m reflect.Method) (args, reply reflect.Type, ok bool) {
	t := m.Type
	if t.NumIn() != 3 || t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]() {
		return nil, nil, false
	}
	args, reply = t.In(1), t.In(2)
	if reply.Kind() != reflect.Pointer || !isPublic(args) || !isPublic(reply) {
		return nil, nil, false
	}
	return args, reply.Elem(), true
}

// isPublic reports whether a type is exported or built in.
func isPublic(t reflect.Type) bool {
	t = pointed(t)
	return token.IsExported(t.Name()) || t.PkgPath() == ""
}

func (d *describer) method(goName, docKey string, args, reply reflect.Type) error {
	name := d.wireName(goName)
	if other, taken := d.goNames[name]; taken {
		return fmt.Errorf("openrpc: %s and %s have the same name: %s", other, goName, name)
	}
	d.goNames[name] = goName
	m := &method{Name: name, Result: content{Name: "result", Schema: d.of(reply)}}
	m.Summary, m.Description, m.Deprecated = d.methodDoc(docKey)
	m.Params, m.ParamStructure = d.params(pointed(args))
	for _, name := range methodErrors {
		m.Errors = append(m.Errors, ref{"#/components/errors/" + name})
	}
	for _, e := range d.opts.Errors[goName] {
		m.Errors = append(m.Errors, e)
	}
	d.methods = append(d.methods, m)
	return nil
}

// wireName maps a method's name in Go to that on the wire.
func (d *describer) wireName(goName string) string {
	bare, ok := strings.CutPrefix(goName, d.opts.Service+".")
	switch {
	case strings.HasPrefix(goName, "rpc."): // reserved for extensions
		return goName
	case d.opts.Name != nil:
		return d.opts.Name(goName)
	case ok && d.opts.Service != "" && !strings.Contains(bare, "."):
		first, n := utf8.DecodeRuneInString(bare)
		return string(unicode.ToLower(first)) + bare[n:]
	}
	return goName
}
