package httpconn

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/micromessaging/jsonrpc2"
)

// sentinelFor returns the sentinel for calls that a response with this status does not
// answer. A proxy may have sent the status while the server runs the calls. So the sentinel
// says only what the status proves.
func sentinelFor(status int, notBegun bool) error {
	switch {
	case notBegun && status == http.StatusRequestEntityTooLarge:
		return jsonrpc2.ErrTooLarge
	case notBegun && status == http.StatusServiceUnavailable:
		return jsonrpc2.ErrOverloaded
	case notBegun && status >= 400:
		return jsonrpc2.ErrUnavailable
	}
	switch status {
	case http.StatusTooManyRequests:
		return jsonrpc2.ErrOverloaded
	case http.StatusNotFound, http.StatusGone:
		return jsonrpc2.ErrNoServer
	case http.StatusRequestEntityTooLarge:
		return jsonrpc2.ErrTooLarge
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusLengthRequired, http.StatusRequestURITooLong, http.StatusUnsupportedMediaType,
		http.StatusExpectationFailed, http.StatusMisdirectedRequest, http.StatusTooEarly, http.StatusUpgradeRequired,
		http.StatusPreconditionRequired, http.StatusRequestHeaderFieldsTooLarge, http.StatusNetworkAuthenticationRequired:
		return jsonrpc2.ErrUnavailable
	case http.StatusRequestTimeout,
		444, 460, 499: // a proxy says that its client is gone
		return jsonrpc2.ErrReplyLost
	case http.StatusSeeOther, // the request was served, and the result is elsewhere
		http.StatusInternalServerError, http.StatusNotImplemented:
		return jsonrpc2.ErrBadReply
	}
	switch status / 100 {
	case 3:
		return jsonrpc2.ErrUnavailable
	case 5: // a gateway sends 502 to 504, and some send others, such as 520 to 530
		return jsonrpc2.ErrReplyLost
	}
	return jsonrpc2.ErrBadReply
}

// noAnswer returns the error of a notification that a reply refuses, or of calls that the
// reply does not answer.
func (c *ClientConn) noAnswer(r *reply) error {
	what := sentinelFor(r.StatusCode, r.Header.Get(NotBegunHeader) == "true")
	mayHaveRun := what == jsonrpc2.ErrBadReply || what == jsonrpc2.ErrReplyLost
	why := "the body is empty"
	switch {
	case r.bodyErr != nil:
		why = fmt.Sprintf("the body was cut off: %v", r.bodyErr)
		if mayHaveRun {
			what = jsonrpc2.ErrReplyLost
		}
	case r.decodeErr != nil:
		why = r.decodeErr.Error()
	case r.tooLong && mayHaveRun && (r.succeeded() || r.isJSON()):
		what = jsonrpc2.ErrReplyTooLarge
		why = fmt.Sprintf("the reply exceeds the limit of %d bytes", c.maxBody)
	default:
		if beginning := c.oneLine(r.body[:min(len(r.body), maxLooked)], maxQuote); beginning != "" {
			why = strconv.Quote(beginning)
		}
	}
	if mayHaveRun && r.notification {
		what = jsonrpc2.ErrUnconfirmed
	}
	return fmt.Errorf("%w: POST %s: %s: %s", what, c.where, c.describe(r), why)
}

// describe returns the status, and what the headers say about it.
func (c *ClientConn) describe(r *reply) string {
	text := c.oneLine([]byte(r.Status), maxHeader)
	if text == "" {
		text = strings.TrimSpace(strconv.Itoa(r.StatusCode) + " " + http.StatusText(r.StatusCode))
	}
	header := func(name string) string { return c.oneLine([]byte(r.Header.Get(name)), maxHeader) }
	if r.StatusCode/100 == 3 {
		text += ", a redirect, which is not followed"
	}
	if name := telling(r.StatusCode); name != "" && header(name) != "" {
		text += ", " + name + ": " + header(name)
	}
	switch contentType := header("Content-Type"); {
	case r.isJSON() && r.succeeded() && r.notification:
		text += ", a JSON-RPC error"
	case r.isJSON() && r.succeeded():
		text += ", no response to this call"
	case !r.isJSON() && contentType != "":
		text += ", " + contentType
	}
	return text
}

// telling returns the header that says what to do about a status, "" if there is
// none.
func telling(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "WWW-Authenticate"
	case http.StatusProxyAuthRequired:
		return "Proxy-Authenticate"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "Retry-After"
	}
	return ""
}

const (
	maxHeader = 100     // bytes of a header in an error
	maxQuote  = 200     // bytes of a body in an error
	maxLooked = 8 << 10 // bytes of a body that are searched for a quote
)

// oneLine returns the beginning of a text from the server, at most so many bytes, as it may
// be shown: in one line, printable, and without the secrets of the URL.
func (c *ClientConn) oneLine(text []byte, most int) string {
	line := strings.Map(printable, string(bytes.Join(bytes.Fields(text), []byte(" "))))
	line = c.secrets.Replace(line)
	if len(line) <= most {
		return line
	}
	const more = "…"
	end := most - len(more)
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + more
}

// printable returns r, or a replacement if r can't be printed.
func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}
