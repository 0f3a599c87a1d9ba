package httpconn

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/micromessaging/jsonrpc2"
)

// A reply is what came back for a request.
type reply struct {
	*http.Response
	body []byte // what was read of it, decoded

	cut     error // why it is not the whole body
	encoded error // why it could not be decoded
	long    bool  // it exceeds the limit
}

// read reads a response, and returns what the codec is to learn of it: false if
// there is nothing.
//
// The body is tried first: a JSON-RPC response counts whatever the status and the
// content type. The calls that it does not answer, all if it is none, fail with
// what the status says.
func (c *Conn) read(response *http.Response, request []byte) (msg jsonrpc2.Message, due bool) {
	r := reply{Response: response}
	if response.StatusCode != http.StatusSwitchingProtocols { // whose body is the connection
		r.body, r.cut = readBody(response.Body, response.ContentLength, c.maxBody, nil)
	}
	if r.cut == nil && int64(len(r.body)) <= c.maxBody {
		r.decode(c.maxBody)
	}
	r.long = int64(len(r.body)) > c.maxBody
	readable := r.isJSON() && r.cut == nil && r.encoded == nil && !r.long
	switch {
	case readable && (r.succeeded() || wantsAnswer(request)):
		return jsonrpc2.Message{Body: r.body, Request: request, Missing: c.missing(&r), Reply: noReply}, true
	case r.succeeded() && !wantsAnswer(request):
		return msg, false
	}
	return jsonrpc2.Message{Body: request, Err: c.noAnswer(&r)}, true
}

func (r *reply) succeeded() bool { return r.StatusCode/100 == 2 }

// noReply is an answer's: it has none of its own.
func noReply([]byte) error { return nil }

// wantsAnswer reports whether a request is more than notifications.
func wantsAnswer(request []byte) bool {
	header, _ := jsonrpc2.ScanHeader(request)
	return header.Answer
}

// missing returns what the calls fail with that a JSON body does not answer. Of
// most bodies it is known beforehand: they say that they are JSON-RPC.
func (c *Conn) missing(r *reply) error {
	if r.StatusCode == http.StatusOK && bytes.Contains(r.body, []byte(`"jsonrpc"`)) {
		return c.unanswered
	}
	return c.noAnswer(r)
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// isJSON reports whether the body can be a JSON-RPC text.
func (r *reply) isJSON() bool {
	text := bytes.TrimLeft(r.body, " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

// decode takes off what the body is wrapped in, up to a limit. A body that is
// JSON as it is was labeled falsely.
func (r *reply) decode(limit int64) {
	encoding := strings.Join(r.Header["Content-Encoding"], ", ")
	if encoding != "" && encoding != "identity" && len(r.body) > 0 && !json.Valid(r.body) {
		r.unzip(strings.ToLower(encoding), limit)
	}
	r.body = bytes.TrimPrefix(r.body, byteOrderMark)
}

func (r *reply) unzip(encoding string, limit int64) {
	if encoding != "gzip" && encoding != "x-gzip" {
		r.encoded = fmt.Errorf("its Content-Encoding is %.100q, which was not asked for", encoding)
		return
	}
	plain, err := gzip.NewReader(bytes.NewReader(r.body))
	if err == nil {
		r.body, err = io.ReadAll(io.LimitReader(plain, limit+1))
	}
	if err != nil {
		r.encoded = fmt.Errorf("its Content-Encoding is gzip: %w", err)
	}
}
