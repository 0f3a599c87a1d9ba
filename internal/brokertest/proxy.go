package brokertest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A Proxy passes TCP connections on to a broker and makes network faults on request. Its
// methods may be called concurrently. A fault is in force when the call that makes it returns.
type Proxy struct {
	Addr string // host:port to dial instead of the broker's

	target string
	ctx    context.Context // done when the proxy ends
	wg     sync.WaitGroup  // counts the goroutines

	mu     sync.Mutex         // protects following, and the links' state
	links  map[*link]struct{} // the present ones
	hole   bool               // see BlackHole
	refuse bool               // see Refuse
	late   chan struct{}      // see Hold: for new connections; nil: they are not held up
	armed  bool               // no request with match was seen yet
	match  []byte             // see DropReply
}

// StartProxy starts a proxy before the broker at target, a host:port. The test's cleanup ends
// the proxy and resets its connections.
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

// enter adds a link to the present ones. It reports false if connections are refused.
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

// swallows reports whether the proxy is a black hole now.
func (p *Proxy) swallows() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hole
}

// Connections returns the number of connections that were neither closed nor cut. One that
// ends inside a black hole counts until the end of the hole.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Cut resets all present connections on both sides. New ones work.
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

// BlackHole makes the proxy swallow all bytes in both directions and keep connections open.
// It accepts new connections and swallows their bytes, too. The end of the black hole cuts
// the present connections, since bytes are missing from them.
func (p *Proxy) BlackHole(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hole && !on {
		p.cutAll()
	}
	p.hole = on
}

// Refuse makes the proxy reset the present connections, and each new one.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on {
		p.cutAll()
	}
	p.refuse = on
}

// Hold holds up what clients send on the present connections, until release is called. If all
// is set, it does so on new connections, too. What was held up then arrives, even if its
// client has closed the connection meanwhile. What the server sends passes as ever. Call Hold
// again only after release.
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

// DropReply passes on the next request that contains match, but not its answer: the first bytes
// from the server after the request cut the client's connection. The proxy can't tell them
// from answers to earlier requests on the connection, so call it while none is outstanding.
// A later call replaces one whose request has not come.
func (p *Proxy) DropReply(match []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.match = true, match
}
