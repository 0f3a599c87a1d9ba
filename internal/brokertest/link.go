package brokertest

import (
	"bytes"
	"errors"
	"io"
	"net"
)

// A link is one connection through a proxy, on both sides. Two goroutines pass bytes on: one
// runs requests, the other answers.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	server *net.TCPConn // set once by join

	// proxy.mu protects the following.
	ended    bool          // reset was called
	late     chan struct{} // requests wait until it is closed; nil: they pass
	dropping bool          // the next answer is dropped, see Proxy.DropReply
	tail     []byte        // the end of the requests so far: a match may begin in it
}

// join adds the server's side. It reports whether the link is still whole.
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

// resetConn closes a connection with a reset, so that the peer can't take it for an orderly
// end.
func resetConn(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// swallow reads and discards what the client sends, until the client's side ends.
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

// wait waits until requests are no longer held up, or until the proxy ends.
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

// answers passes on what the server sends. In place of an answer that is dropped, it resets
// the client's connection. It leaves the server's to an orderly end: a reset could lose the
// request.
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

// pump hands what src sends to pass until src ends. It then ends dst: in order if src ended so
// or if an answer is dropped, else by a reset of both sides.
func (l *link) pump(dst, src *net.TCPConn, pass func([]byte) error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if l.proxy.swallows() {
			if err != nil {
				return // a black hole hides the end from the other side
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

// watch looks in data for the match of DropReply. It keeps the tail of what it saw, since a
// match may come in several pieces.
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

// drops reports whether the next answer is dropped.
func (l *link) drops() bool {
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	return l.dropping
}
