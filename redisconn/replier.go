package redisconn

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A replier sends what a server has for Redis: answers, requests that are given back, and
// the value that ends a blocked pop. It has one lane, or one for each node of a Cluster:
//
//	put       on any goroutine: hand over to the lane of the list's node
//	  lane      all that waits goes out in one pipeline, with one push for each list
//	  retrier   what failed goes out again, so that no list delays another
//	    sender    used by both: pushes to the node, handles what fails
type replier struct {
	*shared
	settler settler
	ledger  *ledger
	pusher  *pusher
	watch   *watch
	cluster *redis.ClusterClient // nil: there is one node
	only    *lane                // of the one node

	mu          sync.Mutex       // protects following
	lanes       map[string]*lane // by the address of their node
	lanesClosed bool             // no lane is added any more
	active      sync.WaitGroup   // counts the lanes' goroutines
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

// start starts the goroutines of the one node's lane. On a Cluster each lane's start when the
// lane is made.
func (r *replier) start() {
	if r.only != nil {
		r.only.start(&r.active)
	}
}

// lane returns the lane of a list's node. It returns nil if there is none and the lanes are
// closed. When the lane sends, go-redis finds the node anew, and it may be another one: the
// lanes serve only to keep the nodes from delaying each other.
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
	if l == nil && !r.lanesClosed {
		l = r.newLane()
		r.lanes[node] = l
		l.start(&r.active)
	}
	return l
}

// put hands a push to the lane of its list's node. It never blocks. After close it fails.
func (r *replier) put(p push) error {
	list := p.list
	if p.kind == pushSettle {
		list = r.queue
	}
	l := r.lane(list)
	if l == nil {
		return net.ErrClosed
	}
	return l.outbox.Put(p, 0) // no bytes: the places and maxParked limit what waits
}

// reply hands over an answer. request is what the answer settles: nil with AtMostOnce, and if the
// request is dead. reply copies the body. If it fails, it has freed the place.
func (r *replier) reply(request *hold.Request, list string, body []byte) error {
	until := time.Now().Add(r.opts.ReplyTTL)
	p := push{kind: pushReply, list: list, body: append([]byte(nil), body...), held: request, until: until}
	if r.cluster != nil || r.ledger.mayPark() { // in a Cluster the other nodes may work meanwhile
		p = r.ledger.park(p)
	}
	err := r.put(p)
	if err != nil {
		r.ledger.free(p)
	}
	return err
}

// settleRequest settles a request that gets no answer, or whose answer was pushed after a claim.
// It does nothing for a nil request.
func (r *replier) settleRequest(request *hold.Request) {
	if request != nil {
		_ = r.put(push{kind: pushSettle, held: request}) // if the lanes are closed, it is taken over
	}
}

// close sends what waits, for closeGrace at most, and returns what is left. It also ends the
// watch, and removes the wake list.
func (r *replier) close() (unsent []push) {
	r.mu.Lock()
	r.lanesClosed = true
	for _, l := range r.lanes {
		l.outbox.Close()
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
