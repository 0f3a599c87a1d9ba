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

	notification bool // the request is one
}

// read reads a response, and returns what the codec is to read, or what the request
// fails with, or neither.
//
// The body is tried first: a JSON-RPC response counts whatever the status and the
// content type. The calls that it does not answer, all if it is none, fail with
// what the status says. A notification is content with any success.
func (c *ClientConn) read(response *http.Response, request *jsonrpc2.Request) (none jsonrpc2.Reply, err error) {
	r := reply{Response: response, notification: request.IsNotification()}
	if response.StatusCode != http.StatusSwitchingProtocols { // whose body is the connection
		r.body, r.cut = readBody(response.Body, response.ContentLength, c.maxBody, nil)
	}
	if r.cut == nil && int64(len(r.body)) <= c.maxBody {
		r.decode(c.maxBody)
	}
	r.long = int64(len(r.body)) > c.maxBody
	readable := r.isJSON() && r.cut == nil && r.encoded == nil && !r.long
	if r.notification && (!r.succeeded() || readable && r.isError()) {
		return none, c.noAnswer(&r)
	}
	if r.succeeded() {
		request.Sent()
	}
	switch {
	case readable:
		return jsonrpc2.Reply{Body: r.body, Request: request, Missing: c.missing(&r)}, nil
	case r.notification:
		return none, nil
	}
	return none, c.noAnswer(&r)
}

func (r *reply) succeeded() bool { return r.StatusCode/100 == 2 }

// isError reports whether the body is a JSON-RPC error.
func (r *reply) isError() bool {
	var response struct{ Error json.RawMessage }
	return json.Unmarshal(r.body, &response) == nil && len(response.Error) > 0 && string(response.Error) != "null"
}

// missing returns what the calls fail with that a JSON body does not answer. Of
// most bodies it is known beforehand: they say that they are JSON-RPC.
func (c *ClientConn) missing(r *reply) error {
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
