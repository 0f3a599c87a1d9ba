package httpconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultMaxWait    = 10 * time.Second
	defaultMaxWaiting = 64 << 20
)

// ListenOptions are the options of Listen. The zero value is useful, and so
// is a nil pointer to it.
type ListenOptions struct {
	// MaxWait limits how long a request waits for a place, one of
	// ServerOptions.MaxInFlight; 10 s if 0. Then the answer is 503.
	MaxWait time.Duration

	// MaxWaiting limits the bytes of all bodies that are being read or wait for a
	// place; 64 MiB if 0. A request beyond it gets a 503.
	MaxWaiting int64

	// BodyTimeout limits how long a body takes to arrive; 30 s if 0, no limit if
	// negative. A request beyond it gets a 408, and its HTTP/1 connection is closed.
	// BodyTimeout has no effect if the http.Server has a ReadTimeout, or if
	// http.ResponseController can't set a read deadline on the http.ResponseWriter.
	BodyTimeout time.Duration

	// AllowCrossOrigin lets browsers call from pages of other origins. CORS also needs
	// an answer to OPTIONS, and headers: a handler around this one has to send them.
	AllowCrossOrigin bool
}

// A Handler is an http.Handler and a jsonrpc2.ServerConn: mount it on a mux, and give it
// to one jsonrpc2.Serve. Serve calls and closes it. Any goroutine may call ServeHTTP, Err
// and Stats. A Handler has no goroutine of its own: those of net/http call ServeHTTP, and
// one of the codec's calls ReadRequest.
type Handler struct {
	maxWait     time.Duration
	maxWaiting  int64
	bodyTimeout time.Duration               // 0 for no limit
	crossOrigin *http.CrossOriginProtection // nil if all origins are allowed
	maxBody     atomic.Int64                // requests may come before Open sets it

	opened   atomic.Bool
	lost     func(body []byte, why error) // set by Open
	requests chan *exchange               // hand sends, ReadRequest receives; has no room
	header   jsonrpc2.Header              // of the last request; ReadRequest's own

	start   sync.Once
	unwatch func() bool // ends the watch of ReadRequest's context
	drain   sync.Once
	drained chan struct{} // closed when a drain begins
	closing sync.Once
	closed  chan struct{} // closed by Close

	mu      sync.Mutex    // protects following
	waiting int64         // bytes of bodies that are being read or wait for a place
	active  int           // requests that wait for a place or an answer
	idle    chan struct{} // closed when active is 0; nil unless Close waits for that

	count counters
}

var (
	_ http.Handler        = (*Handler)(nil)
	_ jsonrpc2.ServerConn = (*Handler)(nil)
)

// An exchange is one POST.
type exchange struct {
	request  *http.Request
	ctx      context.Context // done when the client hangs up
	deadline time.Time       // of the calls in it; zero if its header says none
	body     []byte
	reply    chan []byte // has room for the one reply; closed if nothing was begun
	begun    bool        // begin has sent the reply; the codec's own
}

// Listen returns a Handler. It opens no port: mount the Handler on an http.Server. A
// Handler that is not served by jsonrpc2.Serve answers 503, after MaxWait. A negative
// MaxWait or MaxWaiting is an error.
func Listen(opts *ListenOptions) (*Handler, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	switch {
	case opts.MaxWait < 0:
		return nil, fmt.Errorf("httpconn: MaxWait is %v, less than 0", opts.MaxWait)
	case opts.MaxWaiting < 0:
		return nil, fmt.Errorf("httpconn: MaxWaiting is %d, less than 0", opts.MaxWaiting)
	}
	h := &Handler{
		maxWait:     opts.MaxWait,
		maxWaiting:  opts.MaxWaiting,
		bodyTimeout: max(opts.BodyTimeout, 0),
		requests:    make(chan *exchange),
		drained:     make(chan struct{}),
		closed:      make(chan struct{}),
	}
	h.maxBody.Store(jsonrpc2.DefaultMaxMessageSize)
	if h.maxWait == 0 {
		h.maxWait = defaultMaxWait
	}
	if h.maxWaiting == 0 {
		h.maxWaiting = defaultMaxWaiting
	}
	if opts.BodyTimeout == 0 {
		h.bodyTimeout = 30 * time.Second
	}
	if !opts.AllowCrossOrigin {
		h.crossOrigin = http.NewCrossOriginProtection()
	}
	return h, nil
}

// Open implements jsonrpc2.ServerConn.
func (h *Handler) Open(s jsonrpc2.Settings) error {
	if h.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	h.lost = s.Lost
	h.maxBody.Store(int64(s.MessageSize))
	return nil
}

// ServeHTTP answers a request message with its response and 200, or with 204 if no
// response is due. Everything else is a refusal: see the package's documentation.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, refused := h.serve(w, r)
	switch {
	case refused != nil:
		refused.write(w, r)
	case reply == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header()["Content-Type"] = jsonType
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		if _, err := w.Write(reply); err != nil {
			h.lost(reply, fmt.Errorf("httpconn: answer can't be written: %w", err))
		}
	}
}

// jsonType is the content type of all answers.
var jsonType = []string{"application/json"}

// serve returns the reply to a request, nil if none is due, or a refusal.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	x := &exchange{request: r, ctx: r.Context(), deadline: deadlineOf(r.Header), reply: make(chan []byte, 1)}
	h.limitBody(w, r) // before check: net/http also reads the body of a refused request
	refused := h.check(r)
	if refused == nil {
		x.body, refused = h.read(w, r)
	}
	if refused != nil {
		return nil, refused
	}
	h.enter()
	defer h.leave()
	if refused := h.hand(x); refused != nil {
		return nil, refused
	}
	return h.await(x)
}

// await waits for the answer to a request that was taken, until its context ends. It returns
// an answer that is ready even then: perhaps the client has closed only its sending side.
func (h *Handler) await(x *exchange) ([]byte, *refusal) {
	var reply []byte
	var begun bool
	select {
	case reply, begun = <-x.reply:
	case <-x.ctx.Done(): // the method still runs, and keeps its place
		select {
		case reply, begun = <-x.reply:
		default:
			return nil, givenUp
		}
	}
	if !begun {
		return nil, notRun
	}
	h.count.replies.Add(1)
	return reply, nil
}

// deadlineOf returns the deadline in a request's header, zero if there is none. It counts the
// milliseconds of TimeoutHeader from now, and ignores more than 32 bits of them: 49 days.
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

// hand hands a request to ReadRequest, which takes it when there is a place. hand waits for
// that until maxWait. Either way the body then no longer counts towards MaxWaiting.
func (h *Handler) hand(x *exchange) *refusal {
	defer h.release(len(x.body))
	if x.ctx.Err() != nil { // it ended while the body came, or before
		return h.gone(x.ctx)
	}
	select { // without a timer: most often there is a place
	case <-h.drained:
		return h.busy(shuttingDown)
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
		return h.busy("the server is busy")
	case <-h.drained:
		return h.busy(shuttingDown)
	case <-x.ctx.Done():
		return h.gone(x.ctx)
	}
}

// enter notes that a request waits for a place, and then for its answer.
func (h *Handler) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active++
}

// leave notes that an answer is about to be written. Close does not wait for the writing:
// http.Server.Shutdown does.
func (h *Handler) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active--
	if h.active == 0 && h.idle != nil {
		close(h.idle)
		h.idle = nil
	}
}

// ReadRequest implements jsonrpc2.ServerConn.
func (h *Handler) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	h.start.Do(func() { h.unwatch = context.AfterFunc(ctx, h.stop) }) // also while the codec does not read
	if err := ctx.Err(); err != nil {
		h.stop()
		return jsonrpc2.Delivery{}, err
	}
	select {
	case x := <-h.requests:
		h.count.requests.Add(1)
		h.header.Scan(x.body)
		d := jsonrpc2.Delivery{
			Body: x.body, Header: &h.header, Reply: x.answer, NotRun: x.notRun, Deadline: x.deadline, Context: x.ctx, Origin: x,
		}
		if !h.header.WantsAnswer() {
			d.Begun = x.begin
		}
		return d, nil
	case <-ctx.Done():
		h.stop()
		return jsonrpc2.Delivery{}, ctx.Err()
	case <-h.closed:
		return jsonrpc2.Delivery{}, io.EOF
	}
}

// stop begins the drain: further requests are refused.
func (h *Handler) stop() {
	h.drain.Do(func() { close(h.drained) })
}

// Header implements jsonrpc2.Origin. It joins the lines of a header, as HTTP allows.
func (x *exchange) Header(name string) string {
	return strings.Join(x.request.Header.Values(name), ",")
}

// Peer implements jsonrpc2.Origin.
func (x *exchange) Peer() jsonrpc2.Peer {
	return jsonrpc2.Peer{Addr: x.request.RemoteAddr, TLS: x.request.TLS}
}

// begin sends the reply for notifications that have begun: ServeHTTP then answers with 204.
func (x *exchange) begin() {
	x.begun = true
	x.reply <- nil
}

// answer hands the reply to the goroutine of ServeHTTP.
func (x *exchange) answer(body []byte) error {
	if x.begun { // the reply was sent then
		return nil
	}
	if body != nil {
		body = append([]byte(nil), body...)
	}
	x.reply <- body
	return nil
}

// notRun tells the goroutine of ServeHTTP that nothing was begun.
func (x *exchange) notRun() { close(x.reply) }

const shuttingDown = "the server is shutting down"

var errDrained = errors.New("httpconn: " + shuttingDown)

// Err returns nil while the Handler works, and before Serve. When a drain has begun, it
// returns an error that says so, and after Close net.ErrClosed. It does no I/O: a readiness
// probe may call it.
func (h *Handler) Err() error {
	select {
	case <-h.closed:
		return net.ErrClosed
	default:
	}
	select {
	case <-h.drained:
		return errDrained
	default:
		return nil
	}
}

const closeGrace = 2 * time.Second

// Close ends the Handler; Serve calls it. Later requests are answered with 503. Close waits
// until the answers to earlier requests have been handed to net/http, for 2 s at most. It
// returns nil. A second Close does nothing.
func (h *Handler) Close() error {
	h.closing.Do(func() {
		h.start.Do(func() { h.unwatch = func() bool { return true } }) // a later ReadRequest watches nothing
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
