package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// Defaults of the options.
const (
	DefaultMaxWait    = 10 * time.Second
	DefaultMaxWaiting = 64 << 20
)

// HandlerOptions are the options of a Handler. The zero value is useful, and so
// is a nil pointer to it.
type HandlerOptions struct {
	// MaxWait limits how long a request waits for a place; 10 s if 0. It is
	// then answered with 503.
	MaxWait time.Duration

	// MaxWaiting limits the bytes of the bodies that are read or wait for a
	// place; 64 MiB if 0. Requests beyond it are answered with 503.
	MaxWaiting int64

	// AllowCrossOrigin lets browsers call from pages of other origins. What CORS
	// wants besides, an answer to OPTIONS and headers, is for a handler around
	// this one.
	AllowCrossOrigin bool
}

// Stats counts what a Handler did. All counters only rise.
type Stats struct {
	Requests int64 // request messages taken
	Replies  int64 // answers written, among them those without a body
	Refused  int64 // requests refused for their method, type or origin
	TooLarge int64 // requests over the size limit
	Busy     int64 // requests refused for want of a place
	Gone     int64 // requests whose client hung up before they were taken
}

// A Handler is an http.Handler and the serving jsonrpc2.Conn behind it: mount it
// on a mux, and give it to jsonrpc2.Serve.
type Handler struct {
	maxWait     time.Duration
	maxWaiting  int64
	crossOrigin *http.CrossOriginProtection // nil: all are allowed
	maxBody     atomic.Int64                // set when requests may come already

	requests chan *exchange

	start   sync.Once
	unwatch func() bool // ends the watch of ReadMessage's context
	drain   sync.Once
	drained chan struct{}
	closing sync.Once
	closed  chan struct{}

	mu      sync.Mutex    // protects following
	waiting int64         // bytes of bodies that are read or wait
	active  int           // requests that wait for a place or an answer
	idle    chan struct{} // closed when there are none; nil if nobody waits for it

	taken, replies, refused, tooLarge, busy, gone atomic.Int64
}

var (
	_ http.Handler     = (*Handler)(nil)
	_ jsonrpc2.Conn    = (*Handler)(nil)
	_ jsonrpc2.Limiter = (*Handler)(nil)
)

// An exchange is one POST.
type exchange struct {
	ctx      context.Context // done when the client hangs up
	deadline time.Time       // of its call; zero if it says none
	body     []byte
	reply    chan []byte // has room for the one reply
}

// NewHandler returns a Handler. It answers 503 while no codec reads from it.
func NewHandler(opts *HandlerOptions) *Handler {
	if opts == nil {
		opts = &HandlerOptions{}
	}
	h := &Handler{
		maxWait:    opts.MaxWait,
		maxWaiting: opts.MaxWaiting,
		requests:   make(chan *exchange),
		drained:    make(chan struct{}),
		closed:     make(chan struct{}),
	}
	h.maxBody.Store(jsonrpc2.DefaultMaxMessageSize)
	if h.maxWait == 0 {
		h.maxWait = DefaultMaxWait
	}
	if h.maxWaiting == 0 {
		h.maxWaiting = DefaultMaxWaiting
	}
	if !opts.AllowCrossOrigin {
		h.crossOrigin = http.NewCrossOriginProtection()
	}
	return h
}

// SetLimits implements jsonrpc2.Limiter.
func (h *Handler) SetLimits(l jsonrpc2.Limits) { h.maxBody.Store(int64(l.MessageSize)) }

// A refusal is an answer by HTTP alone: no JSON-RPC was spoken.
type refusal struct {
	status int
	reason string
	count  *atomic.Int64
}

func (r *refusal) Error() string { return r.reason }

// ServeHTTP takes a request message and answers with its response, 200 whatever
// it says, or 204 if none is due.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, err := h.serve(w, r)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		refuse(w, refused)
	case err != nil: // the client is gone
	case reply == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header()["Content-Type"] = jsonType
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		_, _ = w.Write(reply)
	}
}

// jsonType is the content type of all answers.
var jsonType = []string{"application/json"}

func refuse(w http.ResponseWriter, r *refusal) {
	r.count.Add(1)
	switch r.status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, r.reason, r.status)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := h.check(r); err != nil {
		return nil, err
	}
	x := &exchange{ctx: r.Context(), deadline: deadlineOf(r.Header), reply: make(chan []byte, 1)}
	var err error
	if x.body, err = h.read(w, r); err != nil {
		return nil, err
	}
	h.begin()
	defer h.end()
	if err := h.hand(x); err != nil {
		return nil, err
	}
	select {
	case reply := <-x.reply:
		h.replies.Add(1)
		return reply, nil
	case <-x.ctx.Done(): // its place is held until the method returns
		return nil, x.ctx.Err()
	}
}

// check refuses what is not meant for us, before its body is read.
func (h *Handler) check(r *http.Request) error {
	switch {
	case r.Method != http.MethodPost:
		return &refusal{http.StatusMethodNotAllowed, "JSON-RPC is spoken by POST", &h.refused}
	case h.crossOrigin != nil && h.crossOrigin.Check(r) != nil:
		return &refusal{http.StatusForbidden, "cross-origin requests are refused", &h.refused}
	case !servesType(r.Header):
		return &refusal{http.StatusUnsupportedMediaType, "the body must be application/json", &h.refused}
	case !acceptsJSON(r.Header.Values("Accept")):
		return &refusal{http.StatusNotAcceptable, "the answer is application/json", &h.refused}
	case r.ContentLength > h.maxBody.Load():
		return h.errTooLarge()
	}
	return nil
}

func (h *Handler) errTooLarge() error {
	reason := fmt.Sprintf("the body exceeds the limit of %d bytes", h.maxBody.Load())
	return &refusal{http.StatusRequestEntityTooLarge, reason, &h.tooLarge}
}

// servesType reports whether the body may be JSON. The form type is what curl -d
// and Ruby's Net::HTTP say unasked.
func servesType(header http.Header) bool {
	if encoding := header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return false
	}
	contentType := header.Get("Content-Type")
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		(isJSON(media) || media == "application/x-www-form-urlencoded")
}

func isJSON(media string) bool {
	switch media {
	case "application/json", "application/json-rpc", "application/jsonrequest", "text/json":
		return true
	}
	return strings.HasSuffix(media, "+json")
}

// acceptsJSON reports whether some range of the Accept lines admits JSON.
func acceptsJSON(lines []string) bool {
	if len(lines) == 0 {
		return true
	}
	for _, line := range lines {
		if line == "application/json" {
			return true
		}
		for part := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(part) == "" {
				return true // says nothing
			}
			media, params, err := mime.ParseMediaType(part)
			quality, qErr := strconv.ParseFloat(params["q"], 64)
			refused := qErr == nil && quality == 0
			admits := isJSON(media) || media == "*/*" || media == "application/*" || media == "*" || err != nil
			if admits && !refused {
				return true
			}
		}
	}
	return false
}

// deadlineOf returns when a client that sends the header has given up. 32 bits
// of milliseconds are 49 days: who waits for longer may as well wait for ever.
func deadlineOf(header http.Header) (deadline time.Time) {
	text := header[TimeoutHeader]
	if len(text) == 0 {
		return deadline
	}
	milliseconds, err := strconv.ParseUint(text[0], 10, 32)
	if err != nil {
		return deadline
	}
	return time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
}

// read reads the body, within the limits of one and of all.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	read := reservingReader{r: r.Body, h: h}
	body, err := read.short(r.ContentLength)
	if body == nil && err == nil {
		read.r = http.MaxBytesReader(w, r.Body, h.maxBody.Load())
		body, err = io.ReadAll(&read)
	}
	if err == nil {
		return body, nil
	}
	h.release(read.reserved)
	var over *http.MaxBytesError
	var refused *refusal
	switch {
	case errors.As(err, &over):
		return nil, h.errTooLarge()
	case !errors.As(err, &refused):
		h.gone.Add(1)
	}
	return nil, err
}

// maxTrusted is how long a body is taken to be by what its header says.
const maxTrusted = 64 << 10

// A reservingReader accounts for the bytes that are read.
type reservingReader struct {
	r        io.Reader
	h        *Handler
	reserved int64
}

func (r *reservingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if !r.h.reserve(int64(n)) {
		return 0, r.h.errBusy(tooManyWait)
	}
	r.reserved += int64(n)
	return n, err
}

const tooManyWait = "too many bytes wait"

// short reads a body of a known and trusted length in one go; nil of another.
func (r *reservingReader) short(length int64) ([]byte, error) {
	if length < 0 || length > maxTrusted {
		return nil, nil
	}
	if !r.h.reserve(length) {
		return nil, r.h.errBusy(tooManyWait)
	}
	r.reserved = length
	body := make([]byte, length)
	_, err := io.ReadFull(r.r, body)
	return body, err
}

func (h *Handler) reserve(n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting+n > h.maxWaiting {
		return false
	}
	h.waiting += n
	return true
}

func (h *Handler) release(n int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting -= n
}

func (h *Handler) errBusy(why string) error {
	return &refusal{http.StatusServiceUnavailable, why, &h.busy}
}

// hand hands a request to ReadMessage.
func (h *Handler) hand(x *exchange) error {
	defer h.release(int64(len(x.body)))
	select { // most often there is a place
	case <-h.drained:
		return h.errBusy("the server is shutting down")
	case h.requests <- x:
		return nil
	default:
	}
	timer := time.NewTimer(h.maxWait)
	defer timer.Stop()
	select {
	case h.requests <- x:
		return nil
	case <-timer.C:
		return h.errBusy("the server is busy")
	case <-h.drained:
		return h.errBusy("the server is shutting down")
	case <-x.ctx.Done():
		h.gone.Add(1)
		return x.ctx.Err()
	}
}

func (h *Handler) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active++
}

// end notes that an answer is about to be written: the rest is
// http.Server.Shutdown's to wait for.
func (h *Handler) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active--
	if h.active == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// ReadMessage implements jsonrpc2.Conn.
func (h *Handler) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	h.start.Do(func() { h.unwatch = context.AfterFunc(ctx, h.stop) }) // also while the codec does not read
	if err := ctx.Err(); err != nil {
		h.stop()
		return jsonrpc2.Message{}, err
	}
	select {
	case x := <-h.requests:
		h.taken.Add(1)
		return jsonrpc2.Message{Body: x.body, Reply: x.answer, Deadline: x.deadline, Context: x.ctx}, nil
	case <-ctx.Done():
		h.stop()
		return jsonrpc2.Message{}, ctx.Err()
	case <-h.closed:
		return jsonrpc2.Message{}, io.EOF
	}
}

// stop refuses further requests.
func (h *Handler) stop() {
	h.drain.Do(func() { close(h.drained) })
}

// answer hands the reply to the goroutine that writes it.
func (x *exchange) answer(body []byte) error {
	if body != nil {
		body = append([]byte(nil), body...)
	}
	x.reply <- body
	return nil
}

// WriteMessage implements jsonrpc2.Conn: errors.ErrUnsupported.
func (h *Handler) WriteMessage(context.Context, []byte) error { return errors.ErrUnsupported }

const closeGrace = 2 * time.Second

// Close implements jsonrpc2.Conn. Requests are answered with 503 from now on.
func (h *Handler) Close() error {
	h.closing.Do(func() {
		h.start.Do(func() { h.unwatch = func() bool { return true } }) // or never
		h.unwatch()
		h.stop()
		close(h.closed)
		h.mu.Lock()
		idle := make(chan struct{})
		if h.active == 0 {
			close(idle)
		} else {
			h.idle = idle
		}
		h.mu.Unlock()
		timer := time.NewTimer(closeGrace)
		defer timer.Stop()
		select {
		case <-idle:
		case <-timer.C:
		}
	})
	return nil
}

// Stats returns what the Handler has done so far.
func (h *Handler) Stats() Stats {
	return Stats{
		Requests: h.taken.Load(),
		Replies:  h.replies.Load(),
		Refused:  h.refused.Load(),
		TooLarge: h.tooLarge.Load(),
		Busy:     h.busy.Load(),
		Gone:     h.gone.Load(),
	}
}
