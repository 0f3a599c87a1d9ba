package redisconn

import (
	"slices"
	"sync"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A popped is the source of a server with AtMostOnce. A request that it has popped is
// nowhere else: there is nothing to begin, to settle or to leave, and these methods do nothing.
type popped struct {
	*shared
	put    func(push) error // the replier's
	popper popper

	mu      sync.Mutex // protects following
	stopped bool       // stop was called
}

func newPopped(s *shared) *popped {
	return &popped{shared: s, popper: popper{rdb: s.rdb, newest: true}}
}

func (*popped) start() {}

func (p *popped) take(n int) ([]delivery, error) {
	if !p.beginPop() {
		return nil, nil
	}
	list, values, err := p.popper.pop(n, p.wakeList, p.queue)
	p.popping.Store(false)
	if err != nil || list == p.wakeList {
		return nil, err
	}
	taken := make([]delivery, len(values))
	for i, value := range values {
		taken[i].body = value
	}
	return taken, nil
}

// beginPop notes that a pop begins, which stop has to end. It reports whether the pop may begin:
// not after stop.
func (p *popped) beginPop() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.popping.Store(!p.stopped)
	return !p.stopped
}

// stop pushes the value that ends a blocked pop.
func (p *popped) stop(<-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped = true; p.popping.Load() {
		_ = p.put(push{kind: pushWake, list: p.wakeList})
	}
}

func (*popped) begin(delivery) bool { return true }

// giveBack pushes requests onto the end of the queue from which they were popped.
func (p *popped) giveBack(requests []delivery) bool {
	for _, d := range slices.Backward(requests) {
		_ = p.put(push{kind: pushBack, list: p.queue, body: []byte(d.body)})
	}
	return true
}

func (*popped) leave() error { return nil }

func (*popped) byScript() bool { return false }

func (*popped) settling(string, []push) hold.Command { return hold.Command{} }

func (*popped) claim([]push) (map[int]bool, error) { return nil, nil }

func (*popped) dropping([]push) []any { return nil }

func (*popped) settled(...push) {}
