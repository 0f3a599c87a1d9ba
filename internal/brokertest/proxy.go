package brokertest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Proxy passes TCP connections on to a broker and makes network faults on
// request. Its methods may be called concurrently; a fault is in force when
// the call returns.
type Proxy struct {
	Addr string // host:port to dial instead of the broker's

	target string
	ctx    context.Context // done when the proxy ends
	wg     sync.WaitGroup  // counts the goroutines

	mu     sync.Mutex // protects what follows, and the links' state
	links  map[*link]struct{}
	hole   bool
	refuse bool
	late   chan struct{} // see Hold: for new connections; nil: none are held up
	armed  bool          // match waits for its request
	match  []byte        // see DropReply
}

// StartProxy starts a proxy before the broker at target, host:port. The
// test's cleanup ends it.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		Addr:   ln.Addr().String(),
		target: target,
		ctx:    ctx,
		links:  make(map[*link]struct{}),
	}
	p.wg.Go(func() { p.accept(ln) })
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		p.Refuse(true)
		p.wg.Wait()
	})
	return p
}

// accept gives every connection a link:
//
//	accept → serve → link.requests, link.answers → pump
func (p *Proxy) accept(ln net.Listener) {
	for {
		client, err := ln.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(&link{proxy: p, client: client.(*net.TCPConn)}) })
	}
}

// serve passes one connection on until both directions have ended.
func (p *Proxy) serve(l *link) {
	defer l.cut()
	if !p.enter(l) {
		return
	}
	defer p.leave(l)
	if p.swallows() {
		l.swallow()
		return
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil || !l.join(server.(*net.TCPConn)) {
		return
	}
	var answers sync.WaitGroup
	answers.Go(l.answers)
	l.requests()
	answers.Wait()
}

// enter counts a link among the present ones, unless connections are refused.
func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.late = p.late
	if !p.refuse {
		p.links[l] = struct{}{}
	}
	return !p.refuse
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// swallows reports whether the proxy is a black hole at present.
func (p *Proxy) swallows() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hole
}

// Connections returns the number of connections that were neither closed nor
// cut. What ends inside a black hole counts until the hole does.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Cut resets all present connections, on both sides. New ones work.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// cutAll is called with p.mu held.
func (p *Proxy) cutAll() {
	for l := range p.links {
		l.reset()
	}
	clear(p.links)
}

// BlackHole makes the proxy swallow all bytes in both directions while it
// keeps connections open. New connections are accepted and swallowed too.
// What was swallowed stays lost, so the end of the black hole cuts the
// connections present.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole && !on {
		p.cutAll()
	}
	p.hole = on
}

// Refuse makes the proxy reset present connections, and new ones at once.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.cutAll()
	}
	p.refuse = on
}

// Hold holds up what clients send on the connections present, and on new ones too if
// all is set, until release is called. Then it arrives, late, even if the client has
// closed its connection meanwhile. What the server sends passes. Hold is not to be
// called again before release.
func (p *Proxy) Hold(all bool) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := make(chan struct{})
	for l := range p.links {
		l.late = late
	}
	if all {
		p.late = late
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.late = nil
		close(late)
	}
}

// DropReply forwards the next request from a client that contains match, but
// not what the server answers: its first bytes after the request cut the
// client's connection. Answers to earlier requests on the connection can't be
// told from it, so make the fault while none is outstanding.
// A second call replaces a first that still waits for its request.
func (p *Proxy) DropReply(match []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.match = true, match
}
