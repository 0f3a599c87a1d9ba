package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// An envelope is one request or response object, scanned: its members as they
// stand in the text, nil where absent.
type envelope struct {
	id, method, params, result, err []byte

	text     []byte // the whole
	version  []byte // of the member jsonrpc
	replyTo  []byte // of the member reply_to, an extension
	deadline []byte // of the member deadline_ms, an extension
	meta     []byte // of the member meta, an extension
	invalid  string // why this is no envelope at all, "" if it is one
}

var jsonNull = []byte("null")

// scanMessage scans a message, an object or a batch, and calls item for each
// object in turn. The text may still turn out to be broken after the first
// items; then the error wraps errSyntax. An error of item ends the scan.
func scanMessage(text []byte, maxDepth int, item func(envelope) error) (batch bool, err error) {
	s := newScanner(text, maxDepth)
	return s.message(item)
}

// newScanner returns a scanner of a message. RFC 8259, section 8.1, lets us ignore a
// byte order mark.
func newScanner(text []byte, maxDepth int) scanner {
	return scanner{text: bytes.TrimPrefix(text, byteOrderMark), maxDepth: maxDepth}
}

func (s *scanner) message(item func(envelope) error) (batch bool, err error) {
	batch = s.next() == '['
	if batch {
		err = s.array(func() error { return s.item(item) })
	} else {
		err = s.item(item)
	}
	if err == nil && (s.next() != 0 || s.pos < len(s.text)) {
		err = errSyntax
	}
	if err == errSyntax {
		err = fmt.Errorf("%w: at byte %d", err, s.pos)
	}
	return batch, err
}

func (s *scanner) item(item func(envelope) error) error {
	var e envelope
	if s.next() != '{' {
		text, err := s.value()
		if err != nil {
			return err
		}
		e.text, e.invalid = text, "not an object"
		return item(e)
	}
	start := s.pos
	err := s.object(func(name []byte) error {
		value, err := s.value()
		if err == nil {
			e.set(name, value)
		}
		return err
	})
	e.text = s.text[start:s.pos]
	if err != nil { // the members seen so far may still tell whom to answer
		e.invalid = err.Error()
		_ = item(e)
		return err
	}
	return item(e)
}

// set sets a member. A name counts only in the spelling of the specification, and only
// once: a peer that reads the same text by other rules must not see another request in
// it. Of reply_to and deadline_ms the first counts: AppendRequest puts its own in front.
func (e *envelope) set(name, value []byte) {
	name = unescaped(name)
	member := e.member(name)
	switch {
	case member == nil:
		if known := folded(name, "id", "jsonrpc", "method", "params", "result", "error"); known != "" {
			e.invalid = fmt.Sprintf("member %q must be written %q", name, known)
		}
	case *member == nil:
		*member = value
	case member != &e.replyTo && member != &e.deadline:
		e.invalid = fmt.Sprintf("duplicate member %q", name)
	}
}

// unescaped returns a member's name without escape sequences.
func unescaped(name []byte) []byte {
	if bytes.IndexByte(name, '\\') < 0 {
		return name
	}
	return []byte(unquote(append(append([]byte{'"'}, name...), '"')))
}

func (e *envelope) member(name []byte) *[]byte {
	switch string(name) {
	case "id":
		return &e.id
	case "jsonrpc":
		return &e.version
	case "method":
		return &e.method
	case "params":
		return &e.params
	case "result":
		return &e.result
	case "error":
		return &e.err
	case "reply_to":
		return &e.replyTo
	case "deadline_ms":
		return &e.deadline
	case "meta":
		return &e.meta
	}
	return nil
}

// folded returns which of the names equals name if case is ignored, "" for none.
func folded(name []byte, names ...string) string {
	for _, known := range names {
		if len(name) < 2*len(known) && bytes.EqualFold(name, []byte(known)) {
			return known
		}
	}
	return ""
}

// isResponse reports whether this is an answer to somebody's call. A server must not answer
// it, however odd it is, or two servers would talk for ever.
func (e *envelope) isResponse() bool {
	return e.method == nil && (e.result != nil || e.err != nil)
}

// isNameless reports whether this is an error response without an id: it does not say
// which call it is about.
func (e *envelope) isNameless() bool {
	id := kindOf(e.id)
	return e.method == nil && (id == 0 || id == 'n') && kindOf(e.err) == '{' && e.checkResponse() == nil
}

// isNotification reports whether a request must not be answered. The absence
// of an id says so; null is an id.
func (e *envelope) isNotification() bool {
	return e.id == nil && e.checkRequest() == nil
}

// wantsAnswer reports whether this has to be answered.
func (e *envelope) wantsAnswer() bool { return !e.isResponse() && !e.isNotification() }

// checkRequest returns nil for a request object (section 4), else the error to
// answer it with.
func (e *envelope) checkRequest() *Error {
	switch {
	case e.invalid != "":
		return errorf(CodeInvalidRequest, "invalid request: %s", e.invalid)
	case !e.isVersion2():
		return errorf(CodeInvalidRequest, `invalid request: member "jsonrpc" must be "2.0"`)
	case kindOf(e.method) != '"':
		return errorf(CodeInvalidRequest, `invalid request: member "method" must be a string`)
	case e.id != nil && !isID(e.id):
		return errorf(CodeInvalidRequest, `invalid request: member "id" must be a string, a number or null`)
	}
	if err := checkMeta(e.meta); err != nil {
		return errorf(CodeInvalidRequest, "invalid request: %v", err)
	}
	switch kindOf(e.params) {
	case 0, '{', '[', 'n':
		return nil
	}
	return errorf(CodeInvalidRequest, `invalid request: member "params" must be an object or an array`)
}

// checkResponse returns nil for a response object (section 5), else what is wrong with
// it. If one of result and error is null, it does not count beside the other.
func (e *envelope) checkResponse() error {
	result, failed := e.result != nil, kindOf(e.err) != 0 && kindOf(e.err) != 'n'
	switch {
	case e.invalid != "":
		return errors.New(e.invalid)
	case !e.isVersion2():
		return errors.New(`member "jsonrpc" must be "2.0"`)
	case !result && !failed:
		return errors.New("neither a result nor an error")
	case failed && kindOf(e.result) != 0 && kindOf(e.result) != 'n':
		return errors.New("both a result and an error")
	}
	return nil
}

func (e *envelope) isVersion2() bool {
	return string(e.version) == `"2.0"` || unquote(e.version) == "2.0"
}

// answerID returns the id to answer with: null if the request has no valid one.
func (e *envelope) answerID() []byte {
	if e.invalid == "" && isID(e.id) {
		return e.id
	}
	return jsonNull
}

func isID(raw []byte) bool {
	switch c := kindOf(raw); c {
	case '"', '-', 'n':
		return true
	default:
		return '0' <= c && c <= '9'
	}
}

// kindOf returns the first byte of a value, which tells its kind, 0 if there
// is none.
func kindOf(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// unquote returns the string that raw stands for, "" if it is no string.
func unquote(raw []byte) string {
	if kindOf(raw) != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // the scanner saw a string
	return s
}

// appendRequest appends the beginning of a request object, up to its params.
// An empty id makes it a notification.
func appendRequest(b, id []byte, method string) []byte {
	b = append(b, `{"jsonrpc":"2.0"`...)
	if len(id) > 0 {
		b = append(append(b, `,"id":`...), id...)
	}
	b = append(b, `,"method":`...)
	return appendQuoted(b, method)
}

// appendResponse appends the beginning of a response object, up to the value
// of its result or error.
func appendResponse(b, id []byte, member string) []byte {
	b = append(append(b, `{"jsonrpc":"2.0","id":`...), id...)
	return append(append(append(b, `,"`...), member...), `":`...)
}

// appendError appends a whole error response.
func appendError(b, id []byte, e *Error) []byte {
	b = appendResponse(b, id, "error")
	b = append(b, `{"code":`...)
	b = fmt.Append(b, e.Code)
	b = appendQuoted(append(b, `,"message":`...), e.Message)
	if data := e.validData(); data != nil {
		b = append(append(b, `,"data":`...), data...)
	}
	return append(b, `}}`...)
}

// appendQuoted appends s as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	if !isPlain(s) {
		quoted, _ := json.Marshal(s) // a string always encodes
		return append(b, quoted...)
	}
	return append(append(append(b, '"'), s...), '"')
}

// isPlain reports whether a string needs nothing but quotes.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
