package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/rpc"
	"strconv"
	"strings"
	"unicode/utf8"
)

// These are the codes that this package sends: those of the specification, section 5.1,
// and CodeServer. The specification reserves the codes from -32768 to -32000; a service
// chooses its own codes outside of them.
const (
	CodeParse          = -32700 // the message is not JSON
	CodeInvalidRequest = -32600 // the message is JSON, but no request, or exceeds a limit
	CodeMethodNotFound = -32601 // the server has no such service or method
	CodeInvalidParams  = -32602 // the params don't fit the method's argument
	CodeInternal       = -32603 // the answer can't be sent, or a JSON method of a type panicked
	CodeServer         = -32000 // the method returned an error that is no *Error, or the request was not run
)

// These errors are the sentinels. They say why a call or a notification failed, if the
// server did not answer with an [*Error]. errors.Is finds them in the errors of [Call] and
// [Notify].
//
// The error of a plain client.Call has only the text, which begins with that of the sentinel.
// There are three exceptions:
//
//   - For a result that doesn't fit, net/rpc puts "reading body " before the text.
//   - A result that doesn't fit also ends the client. Each other client.Call that waits then
//     fails with the same error, which is about another call.
//   - A client.Call that waits when its client is closed fails with rpc.ErrShutdown.
var (
	// ErrTimeout ends a call that has no answer in time. The call may have run, or may
	// still run, unless the error is an ErrNotRun, too. The text tells what else is
	// known: how many requests wait, how many servers there are, or which error
	// without an id came meanwhile.
	ErrTimeout = errors.New("jsonrpc2: call timed out")
	// ErrNotRun is found beside ErrTimeout or a ctx's error. The request did not run and
	// will not: it was withdrawn while it waited, or had not been sent. It can be
	// repeated.
	ErrNotRun = errors.New("jsonrpc2: not run")
	// ErrUnavailable says that the request could not be handed to the broker or the
	// peer. It did not run.
	ErrUnavailable = errors.New("jsonrpc2: not sent")
	// ErrNoServer says that nobody can take the request, as when the queue is missing
	// or has no consumer. It did not run.
	ErrNoServer = errors.New("jsonrpc2: no server")
	// ErrOverloaded says that too many requests wait already, in the client, the queue
	// or the server. The request did not run.
	ErrOverloaded = errors.New("jsonrpc2: overloaded")
	// ErrTooLarge says that the request exceeds a limit. It did not run.
	ErrTooLarge = errors.New("jsonrpc2: too large")
	// ErrReplyLost says that the answer can no longer come: the connection, the queue
	// or the client that it would have come to is gone. The call may have run.
	ErrReplyLost = errors.New("jsonrpc2: reply lost")
	// ErrUnconfirmed says that a notification may have been sent, but that the broker
	// or the peer has not confirmed it. If it is repeated, it may run twice.
	ErrUnconfirmed = errors.New("jsonrpc2: may have been sent")
	// ErrBadReply says that the reply is no response, or that the result doesn't fit
	// the type of the caller. The call may have run; with a result, it has.
	ErrBadReply = errors.New("jsonrpc2: bad reply")
	// ErrReplyTooLarge says that the reply exceeds a limit. The call may have run.
	ErrReplyTooLarge = errors.New("jsonrpc2: reply too large")
)

var sentinels = []error{
	ErrTimeout, ErrNotRun, ErrUnavailable, ErrNoServer, ErrOverloaded, ErrTooLarge, ErrReplyLost, ErrUnconfirmed, ErrBadReply, ErrReplyTooLarge,
}

// sentinelOf returns the sentinel that text begins with, nil for none.
func sentinelOf(text string) error {
	for _, err := range sentinels {
		if strings.HasPrefix(text, err.Error()) {
			return err
		}
	}
	return nil
}

// withSentinel returns err if it begins with a sentinel, else err behind this sentinel.
func withSentinel(err, sentinel error) error {
	switch {
	case err == nil:
		return sentinel
	case sentinelOf(err.Error()) == nil:
		return fmt.Errorf("%w: %w", sentinel, err)
	}
	return err
}

// certainlyNotRun reports whether the error of a request says, by the sentinel that its
// text begins with, that the request did not run.
func certainlyNotRun(err error) bool {
	switch sentinelOf(err.Error()) {
	case ErrUnavailable, ErrNoServer, ErrOverloaded, ErrTooLarge:
		return true
	}
	return false
}

// isUnconfirmed reports whether the error of a request says that it may have been sent.
func isUnconfirmed(err error) bool { return err != nil && sentinelOf(err.Error()) == ErrUnconfirmed }

// An unseenError is an ErrUnavailable of a request of which no peer has seen anything.
type unseenError struct{ error }

// Unwrap serves errors.Is and errors.As.
func (e unseenError) Unwrap() error { return e.error }

func isUnseen(err error) bool {
	var unseen unseenError
	return errors.As(err, &unseen)
}

// An Error is the error object of a response (specification, section 5.1). A method
// returns a *Error to choose the code and the data. Any other error is sent as
// [CodeServer] with its text. A nil *Error is an error as well, and sent as
// [CodeInternal].
type Error struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"` // one JSON value; anything else is sent as a string
}

// net/rpc flattens every error to its text, on both sides. The text of an Error
// therefore carries the code and the data behind the message, in a form that reads well
// in a log and that a program can parse.
const (
	suffixBegin = "(JSON-RPC error "
	suffixData  = ", data "
	suffixEnd   = ")"
)

// Error returns the message. Unless the code is [CodeServer] without data, the code and
// the data follow:
//
//	divide by zero
//	no such account (JSON-RPC error 404)
//	no such account (JSON-RPC error 404, data {"account":7})
//
// [AsError] parses this text, also after another text, as in
// fmt.Errorf("transfer: %w", err). So a method that fails with the error of a call of
// its own passes on the code and the data of that call. Return a new Error if the caller
// should not take them for the method's own.
func (e *Error) Error() string {
	if e == nil {
		e = &Error{Code: CodeInternal, Message: "nil *jsonrpc2.Error"}
	}
	if e.isPlain() {
		return e.Message
	}
	b := make([]byte, 0, len(e.Message)+len(e.Data)+40)
	if e.Message != "" {
		b = append(append(b, e.Message...), ' ')
	}
	b = append(b, suffixBegin...)
	b = strconv.AppendInt(b, e.Code, 10)
	if data := e.validData(); data != nil {
		b = append(append(b, suffixData...), data...)
	}
	return string(append(b, suffixEnd...))
}

// isPlain reports whether the message alone says everything, so that AsError makes the same
// Error of it. net/rpc would take an empty text for success, and AsError would take the text
// of a sentinel for a failure on the way.
func (e *Error) isPlain() bool {
	if e.Code != CodeServer || len(e.Data) > 0 || e.Message == "" || sentinelOf(e.Message) != nil {
		return false
	}
	_, flattened := parseErrorText(e.Message)
	return !flattened
}

// validData returns the data as it may stand in a JSON text: nil if there is
// none, and as a string if it is no JSON.
func (e *Error) validData() []byte {
	if len(e.Data) == 0 {
		return nil
	}
	var compact bytes.Buffer
	if utf8.Valid(e.Data) && json.Compact(&compact, e.Data) == nil {
		return compact.Bytes()
	}
	quoted, _ := json.Marshal(string(e.Data)) // a string always encodes
	return quoted
}

// parseErrorText parses a text of Error.Error. It looks for the last suffix, so that it
// mistakes nothing in the message for the suffix.
func parseErrorText(text string) (*Error, bool) {
	body, ok := strings.CutSuffix(text, suffixEnd)
	if !ok {
		return nil, false
	}
	for at := strings.LastIndex(body, suffixBegin); at >= 0; at = strings.LastIndex(body[:at], suffixBegin) {
		if e, ok := parseSuffix(body[at+len(suffixBegin):]); ok {
			e.Message = strings.TrimSuffix(body[:at], " ")
			return e, true
		} // else a suffix quoted in the data of the real one
	}
	return nil, false
}

// parseSuffix parses the code, and the data where there is some.
func parseSuffix(s string) (*Error, bool) {
	digits := len(s) - len(strings.TrimLeft(s, "-0123456789"))
	code, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return nil, false
	}
	if digits == len(s) {
		return &Error{Code: code}, true
	}
	data, ok := strings.CutPrefix(s[digits:], suffixData)
	if !ok || !json.Valid([]byte(data)) {
		return nil, false
	}
	return &Error{Code: code, Data: json.RawMessage(data)}, true
}

// AsError returns the error object that the server answered with. It finds an *Error
// that err is or wraps, as [Call] returns it, or parses the text that client.Call returns.
// It reports false for errors that are no *Error of a server or of the client's Begin, such
// as a timeout.
//
// A text without a code stands for [CodeServer]. The code and the data in a text are
// what the server wrote: trust them no more than the server.
func AsError(err error) (*Error, bool) {
	var e *Error
	if errors.As(err, &e) && e != nil {
		return e, true
	}
	text, ok := serverText(err)
	if !ok {
		return nil, false
	}
	if e, ok := parseErrorText(text); ok {
		return e, true
	}
	if sentinelOf(text) != nil {
		return nil, false
	}
	return &Error{Code: CodeServer, Message: text}, true
}

// flatText returns the text of a call's error, for net/rpc. If the error is no *Error, the
// text does not end like that of one, whatever a stranger has put into it.
func flatText(err error) string {
	text := err.Error()
	if _, answered := err.(*Error); answered {
		return text
	}
	if _, flattened := parseErrorText(text); flattened {
		text += "."
	}
	return text
}

// errorFromText returns the error object to send for a method's error, of which net/rpc
// gives only the text.
func errorFromText(text string) *Error {
	if e, ok := parseErrorText(text); ok {
		return e
	}
	return &Error{Code: CodeServer, Message: text}
}

func errorf(code int64, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// serverText returns the text of an error that came as a response.
func serverText(err error) (string, bool) {
	var text rpc.ServerError
	ok := errors.As(err, &text)
	return string(text), ok
}

// wireError decodes the error object of a response. It is as strict as the server
// is with requests: what is no error object (section 5.1) is an ErrBadReply.
func wireError(raw []byte) error {
	e, err := scanError(raw)
	if err != nil {
		return fmt.Errorf("%w: %w: %s", ErrBadReply, err, excerpt(raw))
	}
	return e
}

func scanError(raw []byte) (*Error, error) {
	if kindOf(raw) != '{' {
		return nil, errors.New("error that is no object")
	}
	var code, message, data []byte
	members := map[string]*[]byte{"code": &code, "message": &message, "data": &data}
	s := scanner{text: raw, maxDepth: headerDepth}
	err := s.object(func(name []byte) error {
		value, err := s.value()
		if err != nil {
			return err
		}
		name = unescaped(name)
		switch member := members[string(name)]; {
		case member == nil:
			if known := folded(name, "code", "message", "data"); known != "" {
				return fmt.Errorf("error's member %q must be written %q", name, known)
			}
		case *member != nil:
			return fmt.Errorf("error's member %q stands twice", name)
		default:
			*member = value
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	number, ok := integer(code)
	switch {
	case !ok:
		return nil, errors.New("error's code must be an integer")
	case kindOf(message) != '"':
		return nil, errors.New("error's message must be a string")
	}
	return &Error{Code: number, Message: unquote(message), Data: bytes.Clone(data)}, nil
}

// integer returns the integer that raw stands for, be it written as -32601.0 or
// as -3.2601e4.
func integer(raw []byte) (int64, bool) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n, true
	}
	const exact = 1 << 53 // beyond it a float64 stands for several integers
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || kindOf(raw) == '"' || f != math.Trunc(f) || math.Abs(f) > exact {
		return 0, false
	}
	return int64(f), true
}
