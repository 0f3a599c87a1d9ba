package amqpconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A dialer connects to the nodes of a cluster in turn.
type dialer struct {
	queue  string // for errors
	urls   []string
	uris   []amqp.URI // urls, parsed
	plain  []string   // urls as the library gets them: secure speaks TLS, not the library
	config amqp.Config
}

// newDialer returns the dialer for a first URL and more of them. Its errors leave out those
// of the URL parser, which quote the password. role is for the name of the connections.
func newDialer(url string, more []string, config amqp.Config, queue, role string) (*dialer, error) {
	if err := checkQueue(queue); err != nil {
		return nil, err
	}
	d := &dialer{queue: queue, urls: append([]string{url}, more...)}
	for i, u := range d.urls {
		uri, err := amqp.ParseURI(u)
		if err != nil || hasStrayAt(u) {
			return nil, fmt.Errorf("amqpconn: queue %q: URL %d of %d is bad: want amqp://user:password@host:port/vhost or amqps://, with %%40 for an @ and %%2F for a / within a part", queue, i+1, len(d.urls))
		}
		if config.Vhost != "" {
			uri.Vhost = config.Vhost
		}
		d.uris = append(d.uris, uri)
		d.plain = append(d.plain, withoutTLS(u, uri))
	}
	config.Recovery = nil // a keeper replaces a connection as a whole
	config.Properties = maps.Clone(config.Properties)
	if config.Properties == nil {
		config.Properties = amqp.NewConnectionProperties()
	}
	if _, ok := config.Properties["connection_name"]; !ok {
		config.Properties.SetClientConnectionName(fmt.Sprintf("jsonrpc2 %s of %s", role, queue))
	}
	d.config = config
	return d, nil
}

// hasStrayAt reports whether a URL has an @ behind its host. It may end a password with a / that
// should be %2F: errors would show parts of the password as host, port and vhost.
func hasStrayAt(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	host := strings.IndexAny(rest, "/?#")
	return host >= 0 && strings.Contains(rest[host:], "@")
}

// dialTimeout limits each of three steps: the network connection, unless Config.Dial makes
// it, the handshake of TLS, and that of AMQP.
const dialTimeout = 5 * time.Second

// dial makes the n'th try to connect. The end of ctx ends it. connected is called with the
// network connection before the handshake of AMQP begins.
func (d *dialer) dial(ctx context.Context, n int, connected func(*wire)) (*amqp.Connection, *wire, error) {
	config := d.config
	config.Properties = maps.Clone(config.Properties) // the library writes to it
	var w *wire
	stop := func() bool { return true }
	config.Dial = func(network, addr string) (net.Conn, error) {
		conn, err := d.connect(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		if w, err = d.wire(ctx, n, conn); err != nil {
			_ = conn.Close()
			return nil, err
		}
		connected(w)
		return w, nil
	}
	conn, err := amqp.DialConfig(d.plain[n%len(d.urls)], config)
	stop()
	if err != nil {
		err = d.explain(n, w, err)
	}
	return conn, w, err
}

// connect makes a network connection. Config.Dial has no ctx: when ctx is done, connect leaves
// it behind. What it returns then is closed.
func (d *dialer) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.config.Dial == nil {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	go func() {
		conn, err := d.config.Dial(network, addr)
		select {
		case results <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	}()
	select {
	case r := <-results:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wire returns a wire over the network connection of the n'th try, after the handshake of TLS
// if the URL asks for one. The library removes the wire's deadline after the handshake of AMQP.
func (d *dialer) wire(ctx context.Context, n int, conn net.Conn) (*wire, error) {
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return nil, err
	}
	secured, err := secure(ctx, conn, d.uris[n%len(d.uris)], d.config.TLSClientConfig)
	if err != nil {
		return nil, err
	}
	w := newWire(secured)
	return w, w.SetDeadline(time.Now().Add(dialTimeout))
}

// dialFirst connects to the first node that can be reached. Its error has those of all
// nodes.
func (d *dialer) dialFirst(ctx context.Context) (conn *amqp.Connection, err error) {
	for n := range d.urls {
		conn, _, failed := d.dial(ctx, n, func(*wire) {})
		switch {
		case failed == nil:
			return conn, nil
		case err == nil:
			err = d.located(n, failed)
		default:
			err = fmt.Errorf("%w; %w", err, d.located(n, failed))
		}
	}
	return nil, err
}

// address returns where the n'th try connects to, as host:port/vhost.
func (d *dialer) address(n int) string {
	uri := d.uris[n%len(d.uris)]
	return net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port)) + "/" + strings.TrimPrefix(uri.Vhost, "/")
}

// addresses returns the addresses of all nodes.
func (d *dialer) addresses() string {
	all := make([]string, len(d.uris))
	for i := range all {
		all[i] = d.address(i)
	}
	return strings.Join(all, ", ")
}

// where names the queue and its brokers, for errors.
func (d *dialer) where() string { return fmt.Sprintf("queue %q at %s", d.queue, d.addresses()) }

// located adds to an error where the n'th try connected to.
func (d *dialer) located(n int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", d.address(n), err)
}

// explain returns the reason why a try to connect failed. The library takes the greeting of
// any other program for a frame that is too long: explain looks at the greeting itself.
func (d *dialer) explain(n int, w *wire, err error) error {
	var record tls.RecordHeaderError
	var refusal *amqp.Error
	switch {
	case errors.As(err, &record):
		return fmt.Errorf("no TLS is spoken there, which amqps:// asks for: %w", err)
	case w == nil || !w.isHeard() || d.uris[n%len(d.uris)].Scheme != "amqp": // no greeting
	case errors.As(err, &refusal) && refusal.Server: // the broker's own reason
	default:
		const method = 1 // the kind of a broker's first frame
		switch greeting := *w.greeting.Load(); greeting[0] {
		case method:
		case 0x15: // a TLS alert
			return fmt.Errorf("TLS is spoken there, which amqps:// asks for: %w", err)
		default:
			return fmt.Errorf("no RabbitMQ answers there, but something that says %q: %w", greeting, err)
		}
	}
	if errors.As(err, &refusal) {
		return closeError(refusal)
	}
	return err
}
