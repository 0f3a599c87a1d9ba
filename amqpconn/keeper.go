package amqpconn

import (
	"context"
	"fmt"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A dialer connects to the nodes of a cluster in turn.
type dialer struct {
	urls   []string
	config amqp.Config
}

// newDialer checks the URLs. Their parser's errors quote the password.
func newDialer(url string, more []string, config amqp.Config, queue, role string) (*dialer, error) {
	if err := checkQueue(queue); err != nil {
		return nil, err
	}
	urls := append([]string{url}, more...)
	for i, u := range urls {
		if _, err := amqp.ParseURI(u); err != nil {
			return nil, fmt.Errorf("amqpconn: queue %q: URL %d of %d is bad: want amqp://user:password@host:port/vhost or amqps://", queue, i+1, len(urls))
		}
	}
	config.Recovery = nil // a connection of ours is replaced as a whole
	config.Properties = maps.Clone(config.Properties)
	if config.Properties == nil {
		config.Properties = amqp.NewConnectionProperties()
	}
	if _, ok := config.Properties["connection_name"]; !ok {
		config.Properties.SetClientConnectionName(fmt.Sprintf("jsonrpc2 %s of %s", role, queue))
	}
	return &dialer{urls: urls, config: config}, nil
}

// dialTimeout is for the connection, and again for the handshakes.
const dialTimeout = 5 * time.Second

// dial makes the n'th try to connect. The end of ctx ends it.
func (d *dialer) dial(ctx context.Context, n int) (*amqp.Connection, *wire, error) {
	config := d.config
	config.Properties = maps.Clone(config.Properties) // the library writes to both
	config.TLSClientConfig = config.TLSClientConfig.Clone()
	connect := config.Dial
	if connect == nil {
		connect = func(network, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
		}
	}
	var w *wire
	stop := func() bool { return true }
	config.Dial = func(network, addr string) (net.Conn, error) {
		conn, err := connect(network, addr)
		if err != nil {
			return nil, err
		}
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		w = &wire{Conn: conn}
		return w, w.SetDeadline(time.Now().Add(dialTimeout)) // the library resets it
	}
	conn, err := amqp.DialConfig(d.urls[n%len(d.urls)], config)
	stop()
	return conn, w, err
}

// A keeper keeps one connection to the broker on a goroutine of its own, and
// replaces it when it fails.
type keeper struct {
	dialer *dialer
	state  *link.State
	doing  string // for the log

	// use uses a connection until it fails or ctx is done. It calls up when
	// all is set up.
	use func(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() { k.run(ctx) })
}

func (k *keeper) run(ctx context.Context) {
	var backoff link.Backoff
	for n := 0; ctx.Err() == nil; n++ {
		err := k.once(ctx, n, func() {
			backoff.Reset()
			k.state.Worked(k.doing)
		})
		if ctx.Err() != nil {
			return
		}
		k.state.Failed(k.doing, err)
		link.Wait(backoff.Next(), ctx.Done())
	}
}

func (k *keeper) once(ctx context.Context, n int, up func()) error {
	conn, w, err := k.dialer.dial(ctx, n)
	if err != nil {
		return err
	}
	closed := make(chan struct{})
	end := context.AfterFunc(ctx, func() { // use may be waiting for the broker
		defer close(closed)
		closeSoon(conn)
	})
	err = k.use(ctx, conn, w, up)
	if end() {
		closeSoon(conn)
	} else {
		<-closed
	}
	return err
}

// closeSoon closes a connection in good order if the broker answers soon. What
// waits for the broker then ends.
func closeSoon(conn *amqp.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeGrace))
}

// A part of an end has goroutines that end with their connection.
type part interface {
	end() // has them end
	wait()
}

func (k *keeper) end()  { k.cancel() }
func (k *keeper) wait() { k.done.Wait() }

// stop ends the parts of an end and waits for them. Before, it waits for their
// writers, which may hang on a connection whose other side does nothing any more:
// the end of the connection then ends them.
func stop(finish func(), parts ...part) {
	end := func() {
		for _, p := range parts {
			p.end()
		}
	}
	timer := time.AfterFunc(sendGrace+hangGrace, end)
	finish()
	timer.Stop()
	end()
	for _, p := range parts {
		p.wait()
	}
}

// await waits until the connection or the channel fails, or ctx is done.
func await(ctx context.Context, conn, ch <-chan *amqp.Error) error {
	return awaitAnd(ctx, conn, ch, nil, nil)
}

// awaitAnd is await, and calls do at each tick meanwhile.
func awaitAnd(ctx context.Context, conn, ch <-chan *amqp.Error, ticks <-chan time.Time, do func()) error {
	for {
		select {
		case <-ticks:
			do()
		case err := <-conn:
			return closeError(err)
		case err := <-ch:
			return closeError(err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// closeError returns why a connection or a channel was closed. The library puts
// the text of a network error into its own: without the addresses in it, which
// differ from one connection to the next, it is the same for the same cause.
func closeError(err *amqp.Error) error {
	if err == nil {
		return amqp.ErrClosed
	}
	if _, after, ok := strings.Cut(err.Reason, "->"); ok && !err.Server {
		if _, reason, ok := strings.Cut(after, ": "); ok {
			return &amqp.Error{Code: err.Code, Reason: reason}
		}
	}
	return err
}

// A wire is a network connection that can hold back what is written, to send it
// in one go, and on which no single write hangs for ever: the broker stops
// reading from publishers when it is short of memory.
type wire struct {
	net.Conn

	mu   sync.Mutex // protects following, and orders writes
	held bool
	buf  []byte

	limitMu sync.Mutex // protects following
	limit   time.Time  // of all reads and writes, zero for none
}

const (
	writeTimeout = 5 * time.Second
	maxHeld      = 256 << 10 // bytes
)

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held && len(w.buf)+len(p) <= maxHeld {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.write(p)
}

func (w *wire) write(p []byte) (int, error) {
	w.limitMu.Lock()
	err := w.limitWrite()
	w.limitMu.Unlock()
	if err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// limitWrite is called with limitMu held.
func (w *wire) limitWrite() error {
	deadline := time.Now().Add(writeTimeout)
	if !w.limit.IsZero() && w.limit.Before(deadline) {
		deadline = w.limit
	}
	return w.Conn.SetWriteDeadline(deadline)
}

func (w *wire) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// hold holds back what is written until release.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
}

// release sends what was held back.
func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = false
	return w.flush()
}

// SetDeadline implements net.Conn. It ends a write under way, too.
func (w *wire) SetDeadline(t time.Time) error {
	if err := w.SetWriteDeadline(t); err != nil {
		return err
	}
	return w.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn. The library sets one with each frame that
// comes; none is later than SetDeadline's, or a Close would not end in time.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	if !w.limit.IsZero() && (t.IsZero() || w.limit.Before(t)) {
		t = w.limit
	}
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	w.limit = t
	return w.limitWrite()
}
