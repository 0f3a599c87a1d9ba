package httpconn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// A refusal is an answer without JSON-RPC.
type refusal struct {
	status int
	reason string // the body of the response

	begun      bool // the request may run, or have run
	closesConn bool // the rest of the body may still come: the connection can't be used again
}

// The refusals of requests that were taken. They are not counted: Requests has them.
var (
	notRun  = &refusal{status: http.StatusServiceUnavailable, reason: "not begun: nobody waits for it any more"}
	givenUp = &refusal{status: http.StatusGatewayTimeout, reason: "it runs, but nobody waits for it any more", begun: true}
)

// The functions that make the other refusals count them.

func (h *Handler) refuse(status int, reason string) *refusal {
	h.count.refused.Add(1)
	return &refusal{status: status, reason: reason}
}

func (h *Handler) bodyTooLarge(limit int64) *refusal {
	h.count.tooLarge.Add(1)
	return &refusal{status: http.StatusRequestEntityTooLarge, reason: fmt.Sprintf("the body exceeds the limit of %d bytes", limit)}
}

func (h *Handler) busy(why string) *refusal {
	h.count.busy.Add(1)
	return &refusal{status: http.StatusServiceUnavailable, reason: why}
}

func (h *Handler) gone(ctx context.Context) *refusal {
	h.count.gone.Add(1)
	return &refusal{status: http.StatusServiceUnavailable, reason: fmt.Sprintf("not begun: %v", ctx.Err())}
}

// badBody refuses a request whose body could not be read.
func (h *Handler) badBody(ctx context.Context, err error) *refusal {
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long): // the limit may be that of a handler around this one
		return h.bodyTooLarge(long.Limit)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return h.gone(ctx)
	case isTimeout(err):
		h.count.late.Add(1)
		return &refusal{status: http.StatusRequestTimeout, reason: "the body came too late", closesConn: true}
	}
	h.count.gone.Add(1)
	return &refusal{status: http.StatusBadRequest, reason: fmt.Sprintf("the body broke off: %v", err), closesConn: true}
}

// write writes the response.
func (r *refusal) write(w http.ResponseWriter, request *http.Request) {
	header := w.Header()
	if !r.begun {
		header.Set(NotBegunHeader, "true")
	}
	if r.closesConn && request.ProtoMajor == 1 { // over HTTP/2 that would end other requests, too
		header.Set("Connection", "close")
	}
	switch r.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	http.Error(w, r.reason, r.status)
}
