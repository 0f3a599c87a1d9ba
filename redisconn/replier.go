package redisconn

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A replier sends what a server has for the broker: answers, requests that are
// given back, the value that ends a blocked pop. It has a lane for each node of
// a Cluster, and else one:
//
//	put       on any goroutine: hand over to the lane of the list's node
//	  lane      all that waits goes out in one pipeline, with one push for each list
//	  retrier   what failed goes out again, each list by itself
//	    sender    of both: pushes to the node, sees to what becomes of it
type replier struct {
	*shared
	settler settler
	ledger  *ledger
	pusher  *pusher
	watch   *watch
	cluster *redis.ClusterClient // nil: there is one node
	only    *lane                // of the one node

	mu     sync.Mutex // protects following
	lanes  map[string]*lane
	ended  bool
	active sync.WaitGroup // counts the lanes' goroutines
}

func newReplier(s *shared, settler settler) *replier {
	cluster, _ := s.rdb.(*redis.ClusterClient)
	r := &replier{
		shared:  s,
		settler: settler,
		pusher:  newPusher(s, settler),
		watch:   newWatch(s),
		cluster: cluster,
		lanes:   make(map[string]*lane),
	}
	r.ledger = &ledger{shared: s, settler: settler, settleRequest: r.settleRequest}
	if cluster == nil {
		r.only = r.newLane()
		r.lanes[""] = r.only
	}
	return r
}

func (r *replier) newLane() *lane {
	return newLane(&sender{shared: r.shared, settler: r.settler, ledger: r.ledger, pusher: r.pusher, watch: r.watch})
}

// start starts the goroutines. More start with each further lane.
func (r *replier) start() {
	if r.only != nil {
		r.only.start(&r.active)
	}
}

// lane returns the lane of a list's node, nil when all are closed. The node is
// where the list was when last looked: the client knows better when it sends.
func (r *replier) lane(list string) *lane {
	if r.only != nil {
		return r.only
	}
	node := ""
	if master, err := r.cluster.MasterForKey(context.Background(), list); err == nil {
		node = master.Options().Addr
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[node]
	if l == nil && !r.ended {
		l = r.newLane()
		r.lanes[node] = l
		l.start(&r.active)
	}
	return l
}

func (r *replier) put(p push) error {
	list := p.list
	if p.kind == pushSettle {
		list = r.queue
	}
	l := r.lane(list)
	if l == nil {
		return net.ErrClosed
	}
	return l.out.Put(p, 0) // the places limit it
}

func (r *replier) reply(request *hold.Request, list string, body []byte) error {
	until := time.Now().Add(r.opts.ReplyTTL)
	p := push{kind: pushReply, list: list, body: append([]byte(nil), body...), held: request, until: until}
	if r.cluster != nil { // of which other nodes may work meanwhile
		p = r.ledger.park(p)
	}
	err := r.put(p)
	if err != nil {
		r.ledger.free(p)
	}
	return err
}

// settleRequest settles a request that needs no answer, or no other.
func (r *replier) settleRequest(request *hold.Request) {
	if request != nil {
		_ = r.put(push{kind: pushSettle, held: request}) // else it is taken over
	}
}

// close sends what waits, for closeGrace at most, and returns what is left.
func (r *replier) close() (unsent []push) {
	r.mu.Lock()
	r.ended = true
	for _, l := range r.lanes {
		l.out.Close()
	}
	r.mu.Unlock()
	r.active.Wait()
	r.watch.close()
	woke := false
	for _, l := range r.lanes {
		unsent = l.retrier.stalled.appendLeft(unsent)
		woke = woke || l.sender.woke.Load()
	}
	if woke && r.state.Cause() == nil { // else it expires
		removeList(r.rdb, r.wakeList, r.state.Logger)
	}
	return unsent
}
