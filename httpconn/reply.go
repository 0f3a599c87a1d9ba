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
	body []byte // what was read of the body, decoded

	bodyErr   error // why the body was not read to its end
	decodeErr error // why body is not decoded
	tooLong   bool  // body exceeds the limit

	notification bool // the request is a notification
}

// read reads a response. It returns the Reply for the codec, or the error that the request
// fails with, or neither for a notification that succeeded: a zero Reply and nil.
//
// A JSON-RPC response counts, whatever the status and the content type. Calls without an
// answer in the body fail with what the status says. A notification succeeds with any 2xx
// status, unless the body is a JSON-RPC error.
func (c *ClientConn) read(response *http.Response, request *jsonrpc2.Request) (none jsonrpc2.Reply, err error) {
	r := reply{Response: response, notification: request.IsNotification()}
	if response.StatusCode != http.StatusSwitchingProtocols { // its body is the connection
		r.body, r.bodyErr = readBody(response.Body, response.ContentLength, c.maxBody, nil)
	}
	if r.bodyErr == nil && int64(len(r.body)) <= c.maxBody {
		r.decode(c.maxBody)
	}
	r.tooLong = int64(len(r.body)) > c.maxBody
	readable := r.isJSON() && r.bodyErr == nil && r.decodeErr == nil && !r.tooLong
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

// succeeded reports whether the status says success.
func (r *reply) succeeded() bool { return r.StatusCode/100 == 2 }

// isError reports whether the body is a JSON-RPC error.
func (r *reply) isError() bool {
	var response struct{ Error json.RawMessage }
	return json.Unmarshal(r.body, &response) == nil && len(response.Error) > 0 && string(response.Error) != "null"
}

// missing returns the error of the calls that a JSON body does not answer. For a body of
// JSON-RPC with status 200, by far the most frequent, it is always the same error.
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

// decode undoes the Content-Encoding of the body, up to a limit of bytes, unless the body
// is JSON already. It also removes a byte order mark.
func (r *reply) decode(limit int64) {
	encoding := strings.Join(r.Header["Content-Encoding"], ", ")
	if encoding != "" && encoding != "identity" && len(r.body) > 0 && !json.Valid(r.body) {
		r.unzip(strings.ToLower(encoding), limit)
	}
	r.body = bytes.TrimPrefix(r.body, byteOrderMark)
}

// unzip replaces the body by what it unzips to, up to one byte more than limit.
func (r *reply) unzip(encoding string, limit int64) {
	if encoding != "gzip" && encoding != "x-gzip" {
		r.decodeErr = fmt.Errorf("its Content-Encoding is %.100q, which was not asked for", encoding)
		return
	}
	plain, err := gzip.NewReader(bytes.NewReader(r.body))
	if err == nil {
		r.body, err = io.ReadAll(io.LimitReader(plain, limit+1))
	}
	if err != nil {
		r.decodeErr = fmt.Errorf("its Content-Encoding is gzip: %w", err)
	}
}
