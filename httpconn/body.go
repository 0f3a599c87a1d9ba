package httpconn

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// limitBody limits how long the body of a request takes to arrive, where the
// http.Server does not.
func (h *Handler) limitBody(w http.ResponseWriter, r *http.Request) {
	if h.bodyTimeout == 0 || r.ContentLength == 0 {
		return
	}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.ReadTimeout > 0 {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.bodyTimeout)) // where it can
}

// read reads the body, within its own limit and MaxWaiting, which limits all bodies
// together. What it has read stays reserved until release.
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
	if r.ContentLength < 0 { // MaxBytesReader tells net/http not to read on
		from = http.MaxBytesReader(w, r.Body, limit)
	}
	body, err := readBody(from, r.ContentLength, limit, reserve)
	switch {
	case err == errTooMany:
		return nil, h.busy(err.Error())
	case err != nil:
		return nil, h.badBody(r.Context(), err)
	case int64(len(body)) > limit: // though its Content-Length was not
		return nil, h.bodyTooLarge(limit)
	}
	// From now on net/http reads ahead to see whether the client hangs up. A read
	// deadline that passes would look like that.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	done = true
	return body, nil
}

var errTooMany = errors.New("too many bytes wait")

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
