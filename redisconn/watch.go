package redisconn

import (
	"container/list"
	"crypto/sha1"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A watch looks again at lists that expire because of our answers and that are no reply
// lists by their names. A reply address may name the queue of another service, and what was
// pushed there since would vanish with the answer. Shortly before a list expires, the watch
// deletes it if it has only answers, and otherwise removes its expiry. The watch has one
// goroutine, from the first such list until it is closed. Any goroutine may call add.
type watch struct {
	looker  *looker
	state   *link.State
	prefix  string        // ReplyPrefix, which begins the names of reply lists, too; may be empty
	closing chan struct{} // closed by close
	looking sync.WaitGroup

	mu      sync.Mutex               // protects following
	lists   map[string]*list.Element // the elements of order, by the names of their lists
	order   list.List                // of *watched, the first due first
	started bool
	closed  bool
}

const (
	maxWatched  = 10_000          // lists; of more the one due first is forgotten, and expires
	maxSums     = 16              // sums of answers that are kept for one list
	maxSummed   = 64 << 10        // bytes of an answer whose sum is kept
	maxMargin   = 2 * time.Second // from a look to the expiry, at most
	closingLook = time.Second     // how long Close looks
)

func newWatch(s *shared) *watch {
	w := &watch{
		state:   s.state,
		prefix:  s.opts.ReplyPrefix,
		closing: make(chan struct{}),
		lists:   make(map[string]*list.Element),
	}
	ttl := s.opts.ReplyTTL
	w.looker = &looker{rdb: s.rdb, ttl: ttl, margin: min(maxMargin, ttl/4), again: w.again}
	return w
}

// isForeign reports whether a list is no reply list by its name.
func (w *watch) isForeign(list string) bool {
	return !strings.HasPrefix(list, DefaultReplyPrefix) && (w.prefix == "" || !strings.HasPrefix(list, w.prefix))
}

// add notes that the answers of a group set the expiry of their list.
func (w *watch) add(g *group) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	e := w.lists[g.list]
	if e == nil {
		e = w.order.PushBack(&watched{list: g.list})
		w.lists[g.list] = e
	}
	found := e.Value.(*watched)
	for _, p := range g.pushes[max(0, len(g.pushes)-maxSums):] {
		if len(p.body) <= maxSummed {
			sum := sha1.Sum(p.body)
			found.sums = append(found.sums, hex.EncodeToString(sum[:]))
		}
	}
	found.sums = found.sums[max(0, len(found.sums)-maxSums):]
	found.due = time.Now().Add(w.looker.untilLook())
	w.order.MoveToBack(e)
	if len(w.lists) > maxWatched {
		w.remove(w.order.Front())
	}
	if !w.started {
		w.started = true
		w.looking.Go(w.run)
	}
}

// remove removes a list. It is called with w.mu locked.
func (w *watch) remove(e *list.Element) *watched {
	found := w.order.Remove(e).(*watched)
	delete(w.lists, found.list)
	return found
}

// again notes that a list has to be looked at once more, unless an answer has come meanwhile.
func (w *watch) again(found *watched, after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lists[found.list] != nil || w.closed {
		return
	}
	found.due = time.Now().Add(after)
	at := w.order.Back()
	for at != nil && at.Value.(*watched).due.After(found.due) {
		at = at.Prev()
	}
	if at == nil {
		w.lists[found.list] = w.order.PushFront(found)
	} else {
		w.lists[found.list] = w.order.InsertAfter(found, at)
	}
}

// run looks at lists shortly before they expire, until the watch is closed. Then it looks at all
// of them a last time.
func (w *watch) run() {
	for {
		due, pause := w.due(time.Now())
		if len(due) > 0 {
			w.looker.look(due, false)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.closing:
			timer.Stop()
			w.lookAtAll()
			return
		}
	}
}

// lookAtAll looks at all lists a last time: a list that others have pushed onto loses its
// expiry. It gives up after closingLook.
func (w *watch) lookAtAll() {
	end := time.Now().Add(closingLook)
	for time.Now().Before(end) && w.state.Cause() == nil {
		due, _ := w.due(time.Now().Add(time.Hour * 24 * 365))
		if len(due) == 0 {
			return
		}
		w.looker.look(due, true)
	}
}

// due takes the lists that are due at a time, maxLooks at most. If there are none, pause says how
// long to wait: a list that is added later is due no sooner than untilLook from then.
func (w *watch) due(now time.Time) (due []*watched, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(due) < maxLooks && w.order.Len() > 0 {
		e := w.order.Front()
		if wait := e.Value.(*watched).due.Sub(now); wait > 0 {
			return due, wait
		}
		due = append(due, w.remove(e))
	}
	return due, w.looker.untilLook()
}

// close ends the watch, and waits for the last look.
func (w *watch) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.closing)
	w.looking.Wait()
}
