package jsonrpc2

import (
	"errors"
	"strconv"
)

// A Header is what one pass over a request message finds: what a transport has to
// know of it, and what the codec goes on with. Those who write a [ServerConn] whose
// messages say themselves where they are answered scan each with a Header of theirs
// and hand it over with the [Delivery]. The zero value is empty; it may be used again
// and again, by one goroutine. See the wire contract in the README.
type Header struct {
	body  []byte
	items []envelope // no more than limit
	count int        // of all items
	batch bool
	depth int // of the deepest value
	err   error
	limit int // 0: maxBatchItems
}

// headerDepth is encoding/json's own limit. The codec's is lower; what exceeds
// that is answered, and so needs an address.
const headerDepth = 10_000

// maxBatchItems limits the items of a batch that are kept: one of 4 MiB may have
// two million, and each takes a hundred times its length.
const maxBatchItems = 10_000

// maxKeptItems is for how many items room is kept.
const maxKeptItems = 1_000

// Scan reads body, which must stay as it is for as long as the Header is used.
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

// Err says why the message is no JSON text, nil if it is one. The Header then has
// what was found before the fault.
func (h *Header) Err() error {
	if errors.Is(h.err, errSyntax) {
		return h.err
	}
	return nil
}

// ID returns the first string id among the items, "" if there is none.
func (h *Header) ID() string {
	for i := range h.items {
		if id := unquote(h.items[i].id); id != "" {
			return id
		}
	}
	return ""
}

// ReplyTo returns the string member reply_to of the first item, "" if it has none.
func (h *Header) ReplyTo() string {
	if len(h.items) == 0 {
		return ""
	}
	return unquote(h.items[0].replyTo)
}

// Deadline returns the member deadline_ms of the first item, in Unix milliseconds
// by the broker's clock: 0 if it has none, or none that is a positive integer.
func (h *Header) Deadline() int64 {
	if len(h.items) == 0 {
		return 0
	}
	return positive(h.items[0].deadline)
}

// WantsAnswer reports whether an answer is due: to some item that is neither a
// notification nor a response, or to the message as a whole, if it is broken or
// empty.
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

// positive returns the positive integer that raw stands for, 0 if it is none.
func positive(raw []byte) int64 {
	if len(raw) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}
