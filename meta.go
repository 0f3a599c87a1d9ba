package jsonrpc2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Meta is what travels with a call or a notification beside its params, such as a tenant, a
// token or a trace. Each request object carries its own as the member meta, an object of
// strings, of 8 KiB at most. So it travels over every transport, and within batches. Foreign
// servers ignore it.
//
// A client sends what [WithMeta] has put into the ctx. A method gets what came with its own
// call from [CallFrom]. A server can't trust it, and never logs it. If a method makes calls
// with its Context, they don't carry it on: a token is for one service alone.
//
// Ten entries cost a call about 2 µs. A server reads them only if it has a [BeginFunc], or
// the method's arguments embed a Context: that takes 3 µs more and 40 allocations.
type Meta map[string]string

// maxMeta is how many bytes of JSON a Meta may be.
const maxMeta = 8 << 10

type metaKey struct{}

// A sentMeta is the Meta that calls with a context send.
type sentMeta struct {
	meta Meta
	text []byte // as JSON
}

// WithMeta returns a context with which [Call] and [Notify] send meta and the Meta of ctx. An
// entry of meta takes the place of one of ctx with the same key. A call whose Meta is longer
// than 8 KiB, as JSON, fails with [ErrTooLarge].
func WithMeta(ctx context.Context, meta Meta) context.Context {
	all := maps.Clone(metaOf(ctx))
	if all == nil {
		all = make(Meta, len(meta))
	}
	maps.Copy(all, meta)
	return context.WithValue(ctx, metaKey{}, sentMeta{all, encodeMeta(all)})
}

// encodeMeta returns metadata as an object, with its keys in order.
func encodeMeta(meta Meta) []byte {
	var text []byte
	separator := byte('{')
	for _, key := range slices.Sorted(maps.Keys(meta)) {
		text = appendQuoted(append(text, separator), key)
		text = appendQuoted(append(text, ':'), meta[key])
		separator = ','
	}
	return append(text, '}')
}

func sentMetaOf(ctx context.Context) sentMeta {
	out, _ := ctx.Value(metaKey{}).(sentMeta)
	return out
}

// metaOf returns what calls with a context send, nil for nothing.
func metaOf(ctx context.Context) Meta { return sentMetaOf(ctx).meta }

// appendMeta appends the member meta to a request, if its context has any.
func appendMeta(b []byte, ctx context.Context) ([]byte, error) {
	out := sentMetaOf(ctx)
	switch {
	case len(out.meta) == 0:
		return b, nil
	case len(out.text) > maxMeta:
		return b, fmt.Errorf("%w: metadata of %d bytes exceeds the limit of %d", ErrTooLarge, len(out.text), maxMeta)
	}
	return append(append(b, `,"meta":`...), out.text...), nil
}

var errMeta = errors.New(`member "meta" must be an object of strings, of 8 KiB at most`)

// checkMeta returns what is wrong with a member meta, nil if it may be decoded. An absent
// member and null stand for no metadata.
func checkMeta(raw []byte) error {
	switch {
	case kindOf(raw) == 0 || kindOf(raw) == 'n':
		return nil
	case kindOf(raw) != '{' || len(raw) > maxMeta:
		return errMeta
	}
	s := scanner{text: raw, maxDepth: headerDepth}
	return s.object(func([]byte) error {
		value, err := s.value()
		if err == nil && kindOf(value) != '"' {
			err = errMeta
		}
		return err
	})
}

// decodeMeta decodes a member meta that checkMeta has passed. It returns nil for none.
func decodeMeta(raw []byte) Meta {
	if kindOf(raw) != '{' {
		return nil
	}
	var meta Meta
	_ = json.Unmarshal(raw, &meta) // it was checked
	return meta
}

// traceHeaders are the headers in which a message may carry a trace (W3C Trace Context, and
// W3C Baggage). Those of one group come from the same source: tracestate means nothing without
// its traceparent.
var traceHeaders = [][]string{{"traceparent", "tracestate"}, {"baggage"}}

// addTrace adds the trace in a message's headers to the Meta of its request. It leaves out a
// group of headers if the Meta has the first of them.
func addTrace(meta Meta, header func(name string) string) Meta {
	for _, names := range traceHeaders {
		if _, ok := meta[names[0]]; ok || header(names[0]) == "" {
			continue
		}
		if meta == nil {
			meta = make(Meta)
		}
		for _, name := range names {
			if value := header(name); value != "" {
				meta[name] = value
			}
		}
	}
	return meta
}
