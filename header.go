package jsonrpc2

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
)

// A Header is for those who write a transport whose messages carry the reply address or
// the deadline as JSON members (see docs/wire.md). It is the result of one scan of a request
// message. A [ServerConn] scans each message and hands the Header over with the [Delivery], so
// that the codec need not scan it again.
// The zero value is ready for Scan. One goroutine may use a Header for one message after
// the other.
type Header struct {
	body  []byte
	items []envelope // no more than limit
	count int        // of all items
	batch bool
	depth int // of the deepest value
	err   error
	limit int // of items; 0: maxBatchItems

	address string // the last ReplyTo: most often the next is the same, and needs no new string
}

// headerDepth is encoding/json's own limit of nesting. MaxDepth may be lower. A message over
// MaxDepth is answered, and so its reply address has to be found.
const headerDepth = 10_000

// maxBatchItems limits the items of a batch that are kept. A batch of 4 MiB may have two
// million items of two bytes, and an envelope is more than a hundred times as long.
const maxBatchItems = 10_000

// maxKeptItems is how many items a Header keeps room for.
const maxKeptItems = 1_000

// Scan reads a message, and replaces what the Header held before. body must not change
// while the Header is used.
func (h *Header) Scan(body []byte) {
	if cap(h.items) > maxKeptItems {
		h.items = nil
	}
	clear(h.items)
	h.items, h.body, h.count = h.items[:0], body, 0
	s := newScanner(body, headerDepth)
	h.batch, h.err = s.message(h.add)
	h.depth = s.deepest
}

// release lets go of the message, which the Header would keep alive.
func (h *Header) release() {
	clear(h.items)
	h.items, h.body = h.items[:0], nil
}

func (h *Header) add(e envelope) error {
	h.count++
	if len(h.items) < orDefault(h.limit, maxBatchItems) {
		h.items = append(h.items, e)
	}
	return nil
}

// isOf reports whether the Header is a scan of body.
func (h *Header) isOf(body []byte) bool {
	return h != nil && len(h.body) == len(body) && (len(body) == 0 || &h.body[0] == &body[0])
}

// isPartial reports whether there are more items than the Header has kept.
func (h *Header) isPartial() bool { return h.count > len(h.items) }

// Err returns why the message is no JSON text, or nil if it is one. If it is none, the other
// methods tell what was found before the fault.
func (h *Header) Err() error {
	if errors.Is(h.err, errSyntax) {
		return h.err
	}
	return nil
}

// ID returns the first id in the message that is a string, without quotes, or "" if there
// is none.
func (h *Header) ID() string {
	for i := range h.items {
		if id := unquote(h.items[i].id); id != "" {
			return id
		}
	}
	return ""
}

// ReplyTo returns the member reply_to of the message, or of the first item of a batch. It
// returns "" if that is no string.
func (h *Header) ReplyTo() string {
	if len(h.items) == 0 {
		return ""
	}
	raw := h.items[0].replyTo
	if n := len(raw); h.address != "" && n == len(h.address)+len(`""`) && raw[0] == '"' && string(raw[1:n-1]) == h.address {
		return h.address
	}
	address := unquote(raw)
	if strings.IndexByte(address, '\\') < 0 { // else the escaped text of another address may equal it
		h.address = address
	}
	return address
}

// Deadline returns the member deadline_ms of the message, or of the first item of a
// batch: Unix milliseconds by the broker's clock. It returns 0 if that is no positive
// number.
func (h *Header) Deadline() int64 {
	if len(h.items) == 0 {
		return 0
	}
	return milliseconds(h.items[0].deadline)
}

// AppendRequest is for those who write a transport whose messages carry the reply address
// and the deadline as JSON members. It appends a request to b as it travels there: with
// reply_to and deadline_ms in front in its first object, where [Header.Scan] finds them. An
// empty replyTo and a deadline of 0 are left out. A text without an object stays as it is.
func AppendRequest(b, request []byte, replyTo string, deadline int64) []byte {
	at := bytes.IndexByte(request, '{') + 1
	if at == 0 || replyTo == "" && deadline == 0 {
		return append(b, request...)
	}
	b = append(b, request[:at]...)
	if replyTo != "" {
		b = appendQuoted(append(b, `"reply_to":`...), replyTo)
	}
	if deadline != 0 {
		if replyTo != "" {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `"deadline_ms":`...), deadline, 10)
	}
	if rest := bytes.TrimLeft(request[at:], " \t\r\n"); len(rest) > 0 && rest[0] != '}' {
		b = append(b, ',')
	}
	return append(b, request[at:]...)
}

// WantsAnswer reports whether the message must be answered. That is so unless all in it
// are notifications or responses. A broken message and an empty batch must be answered, too.
func (h *Header) WantsAnswer() bool {
	if h.err != nil || h.count == 0 || h.isPartial() {
		return true
	}
	for i := range h.items {
		if h.items[i].wantsAnswer() {
			return true
		}
	}
	return false
}

// hasNotification reports whether the message is a notification, or a batch that has one.
func (h *Header) hasNotification() bool {
	for i := range h.items {
		if h.items[i].isNotification() {
			return true
		}
	}
	return false
}

// milliseconds returns the positive number that raw stands for, without its fraction, and 0 if
// it is none. Some languages write a time as 1766444444444.5 or 1.766444444444e12.
func milliseconds(raw []byte) int64 {
	if len(raw) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil {
		return max(n, 0)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f >= 1<<63 {
		return 0
	}
	return int64(f)
}
