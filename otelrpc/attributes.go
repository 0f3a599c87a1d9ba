package otelrpc

import (
	"net"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/micromessaging/jsonrpc2"
)

// ownAttributes returns the attributes of a span that other calls don't have.
func ownAttributes(call *jsonrpc2.CallInfo) []attribute.KeyValue {
	attributes := make([]attribute.KeyValue, 0, 3)
	if call.ID != "" && call.ID != "null" { // the conventions want neither
		id := strings.TrimSuffix(strings.TrimPrefix(call.ID, `"`), `"`)
		attributes = append(attributes, semconv.JSONRPCRequestID(clip(id)))
	}
	if call.Peer.Addr == "" {
		return attributes
	}
	host, port, err := net.SplitHostPort(call.Peer.Addr)
	if err != nil { // it is the name of a socket
		return append(attributes, semconv.NetworkPeerAddress(call.Peer.Addr))
	}
	attributes = append(attributes, semconv.NetworkPeerAddress(host))
	if n, err := strconv.Atoi(port); err == nil {
		attributes = append(attributes, semconv.NetworkPeerPort(n))
	}
	return attributes
}

// maxText is how long a text may be that comes from a stranger.
const maxText = 1 << 10

// clip returns the beginning of a text, as exporters can send it.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}
