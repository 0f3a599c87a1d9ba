package otelrpc

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
)

// A failure is how a call has failed. The zero value says that it has not.
type failure struct {
	key  failureKey
	text string // for people
}

// A failureKey is what tells failures apart.
type failureKey struct {
	errorType string
	answered  bool // errorType is the code of an error object
}

var otherFailure = failureKey{errorType: semconv.ErrorTypeOther.Value.AsString()}

// attributes returns the attributes that say how a call has failed.
func (k failureKey) attributes() []attribute.KeyValue {
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(k.errorType)}
	if k.answered {
		attributes = append(attributes, semconv.RPCResponseStatusCode(k.errorType))
	}
	return attributes
}

// errorTypes are the values of error.type beside the codes. An error is the first of them
// that it wraps: a notification that is canceled is unconfirmed as well.
var errorTypes = []struct {
	err  error
	name string
}{
	{jsonrpc2.ErrTimeout, "timeout"},
	{jsonrpc2.ErrUnavailable, "unavailable"},
	{jsonrpc2.ErrNoServer, "no_server"},
	{jsonrpc2.ErrOverloaded, "overloaded"},
	{jsonrpc2.ErrTooLarge, "too_large"},
	{jsonrpc2.ErrReplyLost, "reply_lost"},
	{jsonrpc2.ErrBadReply, "bad_reply"},
	{jsonrpc2.ErrReplyTooLarge, "reply_too_large"},
	{context.Canceled, "canceled"},
	{jsonrpc2.ErrUnconfirmed, "unconfirmed"},
}

// failureOf returns how a call has failed.
func (i *instrument) failureOf(err error) failure {
	if err == nil {
		return failure{}
	}
	e, answered := jsonrpc2.AsError(err)
	switch {
	case answered:
		return failure{failureKey{strconv.FormatInt(e.Code, 10), true}, e.Message}
	case i.kind == trace.SpanKindServer: // it is sent with this code
		return failure{failureKey{strconv.Itoa(jsonrpc2.CodeServer), true}, err.Error()}
	}
	for _, t := range errorTypes {
		if errors.Is(err, t.err) {
			return failure{failureKey{errorType: t.name}, err.Error()}
		}
	}
	return failure{otherFailure, err.Error()}
}
