package httpconn

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// limitBody limits how long the body of a request may take to arrive, unless the http.Server
// does.
func (h *Handler) limitBody(w http.ResponseWriter, r *http.Request) {
	if h.bodyTimeout == 0 || r.ContentLength == 0 {
		return
	}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout > 0 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.bodyTimeout)) // not all w support it
}

// read reads the body of a request. A body may be as long as the codec's MaxMessageSize, and
// all bodies together as MaxWaiting. The caller releases the bytes of a body that read
// returns; read itself releases those of a refused one.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, refused *refusal) {
	reserved, done := 0, false
	defer func() {
		if !done {
			h.release(reserved)
		}
	}()
	reserve := func(n int) error {
		if !h.reserve(n) {
			return errTooMany
		}
		reserved += n
		return nil
	}
	limit := h.maxBody.Load()
	from := io.Reader(r.Body)
	if r.ContentLength < 0 { // beyond the limit a MaxBytesReader tells net/http not to read the rest
		from = http.MaxBytesReader(w, r.Body, limit)
	}
	body, err := readBody(from, r.ContentLength, limit, reserve)
	switch {
	case err == errTooMany:
		return nil, h.busy(err.Error())
	case err != nil:
		return nil, h.badBody(r.Context(), err)
	case int64(len(body)) > limit: // Content-Length was less: a handler around has changed the body
		return nil, h.bodyTooLarge(limit)
	}
	// From now on net/http reads ahead to see whether the client hangs up. It would take a
	// read deadline that passes for that.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	done = true
	return body, nil
}

var errTooMany = errors.New("too many bytes wait")

// reserve counts bytes of a body as waiting. It reports whether MaxWaiting allows them.
func (h *Handler) reserve(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting+int64(n) > h.maxWaiting {
		return false
	}
	h.waiting += int64(n)
	return true
}

func (h *Handler) release(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting -= int64(n)
}

// isTimeout reports whether a read failed because its deadline had passed.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
