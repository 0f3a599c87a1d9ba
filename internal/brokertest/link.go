package brokertest

import (
	"bytes"
	"errors"
	"io"
	"net"
)

// A link is one connection through a proxy. The proxy's mutex protects its
// state.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	server *net.TCPConn // nil until joined, constant from then on

	ended    bool          // by reset
	late     chan struct{} // closed when requests may pass; nil: they may
	dropping bool          // the next answer is to be dropped
	tail     []byte        // end of the requests, may be the beginning of a match
}

// join adds the server's side, unless the link has been cut meanwhile.
func (l *link) join(server *net.TCPConn) bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.server = server
	if l.ended {
		l.reset()
	}
	return !l.ended
}

// cut resets the connections on both sides.
func (l *link) cut() {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	l.reset()
}

// reset is called with the proxy's mutex held.
func (l *link) reset() {
	l.ended = true
	resetConn(l.client)
	if l.server != nil {
		resetConn(l.server)
	}
}

// resetConn closes a connection so that the peer sees a reset where it could
// take an orderly end for more.
func resetConn(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// swallow reads what the client sends, for nothing.
func (l *link) swallow() { _, _ = io.Copy(io.Discard, l.client) }

// requests passes on what the client sends.
func (l *link) requests() {
	l.pump(l.server, l.client, func(data []byte) error {
		l.wait()
		l.watch(data)
		_, err := l.server.Write(data)
		return err
	})
}

// wait waits while requests are held up.
func (l *link) wait() {
	l.proxy.mu.Lock()
	late := l.late
	l.proxy.mu.Unlock()
	if late == nil {
		return
	}
	select {
	case <-late:
	case <-l.proxy.ctx.Done():
	}
}

// answers passes on what the server sends. An answer that is to be dropped
// resets the client's connection only: the server's is closed in order, lest
// it lose the request.
func (l *link) answers() {
	l.pump(l.client, l.server, func(data []byte) error {
		if l.drops() {
			resetConn(l.client)
			return nil
		}
		_, err := l.client.Write(data)
		return err
	})
}

// pump hands what src sends to pass, and its end to dst, until src ends.
func (l *link) pump(dst, src *net.TCPConn, pass func([]byte) error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if l.proxy.swallows() {
			if err != nil {
				return // unseen on the other side
			}
			continue
		}
		if n > 0 {
			if passErr := pass(buf[:n]); passErr != nil {
				err = passErr
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), l.drops():
			_ = dst.CloseWrite()
			return
		default:
			l.cut()
			return
		}
	}
}

// watch looks for the request whose answer is to be dropped.
func (l *link) watch(data []byte) {
	p := l.proxy
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed {
		l.tail = nil
		return
	}
	seen := append(l.tail, data...)
	if bytes.Contains(seen, p.match) {
		p.armed, l.dropping = false, true
		return
	}
	l.tail = bytes.Clone(seen[max(0, len(seen)-len(p.match)+1):])
}

func (l *link) drops() bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	return l.dropping
}
