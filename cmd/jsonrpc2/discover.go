package main

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2"
)

// discoverMethod is the name that OpenRPC gives to the method that describes the others.
const discoverMethod = "rpc.discover"

func (a *app) discoverCommand() *cobra.Command {
	var r request
	c := &cobra.Command{
		Use:   "discover",
		Short: "Show the methods of a service",
		Long: `Show the methods of a service, their params and results, as it describes them
itself: by an OpenRPC document, which it answers the method rpc.discover with.
Params in [brackets] may be left out; with … there may be any number of them.
With -o json the document is printed.`,
		Example: `  jsonrpc2 discover -b redis://localhost:6379 -q calc
  jsonrpc2 discover -b http://localhost:4567/calc -o json > calc.openrpc.json`,
		Args: noOperands,
		RunE: func(c *cobra.Command, _ []string) error { return a.discover(c.Context(), &r) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
	r.defineMeta(c)
	a.target.defineCalls(c)
	return c
}

func (a *app) discover(ctx context.Context, r *request) error {
	text, err := a.document(ctx, r)
	if err != nil {
		return err
	}
	d, err := parseDocument(text)
	if err != nil {
		return err
	}
	if a.output.isJSON() {
		_, err = a.stdout.Write(append(escaped(compact(text)), '\n'))
		return err
	}
	t := &table{columns: []column{{"METHOD", false}, {"PARAMS", false}, {"RESULT", false}, {"SUMMARY", false}}}
	for _, m := range d.Methods {
		t.add(clipped(m.Name, 64), clipped(m.params(), 80), clipped(m.result(), 40), clipped(m.Summary, 80))
	}
	return a.print(t)
}

// document returns the document that a service answers with.
func (a *app) document(ctx context.Context, r *request) (json.RawMessage, error) {
	client, done, err := a.client(r, nil)
	if err != nil {
		return nil, err
	}
	defer done()
	return jsonrpc2.Call[json.RawMessage](r.withMeta(ctx), client, discoverMethod, nil)
}

// A document is what is used of an OpenRPC document.
type document struct {
	OpenRPC string
	Methods []documentedMethod
}

type documentedMethod struct {
	Name, Summary string
	Params        []content
	Result        content
}

// A content is a param or a result, or refers to one.
type content struct {
	Name     string
	Required bool
	Schema   json.RawMessage
	Variadic bool   `json:"x-variadic"` // that of the module openrpc
	Ref      string `json:"$ref"`
}

func parseDocument(text []byte) (d document, err error) {
	if json.Unmarshal(text, &d) != nil || d.OpenRPC == "" {
		return d, errors.New("what the server answers to " + discoverMethod + " is no OpenRPC document")
	}
	return d, nil
}

// params returns the params for people, such as "A number, [B number]".
func (m *documentedMethod) params() string {
	var all []string
	for _, p := range m.Params {
		text := p.Name
		if p.Name == "" {
			text = lastOf(p.Ref)
		}
		if p.Variadic {
			text += "…"
		}
		text = strings.TrimSpace(text + " " + typeOf(p.Schema))
		if !p.Required && p.Ref == "" {
			text = "[" + text + "]"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// result returns the type of the result for people, or the name of the result that m refers to.
func (m *documentedMethod) result() string {
	if len(m.Result.Schema) == 0 {
		return lastOf(m.Result.Ref)
	}
	return typeOf(m.Result.Schema)
}

// typeOf returns the type that a JSON Schema tells, for people: such as number, Order or
// Order[], and any if it is not that simple.
func typeOf(text json.RawMessage) string {
	var s struct {
		Ref   string `json:"$ref"`
		Type  any
		Items json.RawMessage
		AnyOf []json.RawMessage
	}
	if len(text) == 0 {
		return ""
	}
	if json.Unmarshal(text, &s) != nil { // such as true
		return "any"
	}
	kind, _ := s.Type.(string)
	if several, ok := s.Type.([]any); ok {
		kind = besidesNull(several)
	}
	var alternatives []any
	for _, schema := range s.AnyOf {
		alternatives = append(alternatives, typeOf(schema))
	}
	alternative := besidesNull(alternatives)
	switch {
	case s.Ref != "":
		return lastOf(s.Ref)
	case alternative != "":
		return alternative
	case kind == "array" && len(s.Items) > 0:
		return typeOf(s.Items) + "[]"
	case kind == "":
		return "any"
	}
	return kind
}

// besidesNull returns the only type besides null, or "" if it is not the only one.
func besidesNull(types []any) string {
	types = slices.DeleteFunc(types, func(t any) bool { return t == "null" })
	if len(types) != 1 {
		return ""
	}
	only, _ := types[0].(string)
	return only
}

// lastOf returns the last part of a reference.
func lastOf(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// completeTimeout is how long the completion of a method waits for a service.
const completeTimeout = time.Second

// completable matches names without characters that are special to a shell. The names come from
// the server, which may be hostile.
var completable = regexp.MustCompile(`^[\pL\pN_][\pL\pN_.:/-]*$`)

// completeCall completes the operands of a call: METHOD, if the service describes itself, and
// PARAMS. It ignores errors.
func (a *app) completeCall(r *request) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return a.methodNames(c.Context(), r), cobra.ShellCompDirectiveNoFileComp
		case 1:
			return []string{"@", "-"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// methodNames returns the names of the methods, each with what is told of it, if they are known
// in time. It does not wait for the end of the connection, which may take longer: the program
// ends.
func (a *app) methodNames(ctx context.Context, r *request) []string {
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	names := make(chan []string, 1)
	go func() { names <- a.askNames(ctx, r) }()
	select {
	case known := <-names:
		return known
	case <-ctx.Done():
		return nil
	}
}

func (a *app) askNames(ctx context.Context, r *request) (names []string) {
	text, err := a.document(ctx, r)
	if err != nil {
		return nil
	}
	d, err := parseDocument(text)
	if err != nil {
		return nil
	}
	for _, m := range d.Methods {
		if completable.MatchString(m.Name) {
			names = append(names, cobra.CompletionWithDesc(m.Name, printable(clipped(m.Summary, 80))))
		}
	}
	return names
}
