package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
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
type replier struct {
	*shared
	settler  settler
	byScript bool                 // requests are settled by the script that pushes their answers
	cluster  *redis.ClusterClient // nil: there is one node

	only  *lane // of the one node
	watch *watch

	mu     sync.Mutex // protects following
	lanes  map[string]*lane
	ended  bool
	active sync.WaitGroup // counts the lanes' goroutines

	woke      atomic.Bool  // the wake list may have to be removed
	lasting   atomic.Bool  // Redis won't let reply lists expire
	bySeconds atomic.Bool  // but by EXPIRE
	noScripts atomic.Int64 // Redis runs none until then, in Unix nanoseconds
	parked    atomic.Int64 // bytes of the answers that hold no place
}

const (
	// scriptTime is for how long a refusal to run scripts is believed.
	scriptTime = time.Minute

	// maxParked is how many bytes of answers may wait for their lists without
	// holding a place.
	maxParked = 16 << 20
)

func newReplier(s *shared, settler settler) *replier {
	cluster, _ := s.rdb.(*redis.ClusterClient)
	r := &replier{
		shared:   s,
		settler:  settler,
		byScript: settler.byScript(),
		cluster:  cluster,
		lanes:    make(map[string]*lane),
	}
	r.watch = newWatch(r)
	if cluster == nil {
		r.only = newLane(r)
		r.lanes[""] = r.only
	}
	return r
}

// start starts the goroutines. More start with each further lane.
func (r *replier) start() {
	if r.only != nil {
		r.only.start()
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
		l = newLane(r)
		r.lanes[node] = l
		l.start()
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
		p = r.park(p)
	}
	err := r.put(p)
	if err != nil {
		r.free(p)
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
	for _, l := range r.lanes {
		unsent = l.retrier.appendUnsent(unsent)
	}
	if r.woke.Load() && r.state.Cause() == nil { // else it expires
		removeList(r.rdb, r.wakeList, r.state.Logger)
	}
	return unsent
}

var errLeaseLost = errors.New("redisconn: answer dropped: the lease ran out, another server has the request")

// lose gives up the answer to a request that is no longer ours.
func (r *replier) lose(p push) {
	r.leaseLost.Add(1)
	r.settler.settled(p)
	p.held = nil
	r.drop(p, errLeaseLost)
}

// expire gives up an answer that took too long.
func (r *replier) expire(p push) {
	r.expired.Add(1)
	r.drop(p, fmt.Errorf("redisconn: answer to %q not delivered within %v", p.list, r.opts.ReplyTTL))
}

// refuse gives up an answer that its list, or the broker, won't take.
func (r *replier) refuse(p push, err error) {
	if !p.notice { // else it was counted before
		r.undelivered.Add(1)
	}
	r.drop(p, fmt.Errorf("redisconn: answer to %q: %w", p.list, err))
}

// drop gives up an answer.
func (r *replier) drop(p push, why error) {
	r.lost(p.body, why)
	r.free(p)
	r.settleRequest(p.held)
}

// park frees the place of an answer that waits for its list alone, if there is
// room: else the answers to one list would stop the server.
func (r *replier) park(p push) push {
	size := len(p.body)
	if p.kind != pushReply || p.parked > 0 || r.parked.Load()+int64(size) > maxParked {
		return p
	}
	r.parked.Add(int64(size))
	p.parked = size
	r.places.Free(1)
	return p
}

// free frees what an answer that is sent or given up holds.
func (r *replier) free(p push) {
	if p.parked > 0 {
		r.parked.Add(-int64(p.parked))
	} else {
		r.places.Free(1)
	}
}
