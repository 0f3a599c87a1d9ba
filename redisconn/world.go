package redisconn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A world is what a hold.Worker acts on: Redis, by the user's client and by two clients of our
// own, for moves and for beats. So neither a move that waits nor a slow command delays a beat.
type world struct {
	*shared
	began time.Time
	mover *mover
	beats *ownClient

	unblocks chan struct{} // receives if a move has to end
	stopped  chan struct{} // closed by close
	active   sync.WaitGroup
}

func newWorld(s *shared) *world {
	w := &world{
		shared:   s,
		began:    time.Now(),
		mover:    newMover(s),
		beats:    newOwnClient(s, hold.BeatTime(s.opts.Lease)),
		unblocks: make(chan struct{}, 1),
		stopped:  make(chan struct{}),
	}
	return w
}

func (w *world) start() { w.Go(w.unblock) }

// Now implements hold.World.
func (w *world) Now() time.Duration { return time.Since(w.began) }

// Go implements hold.World.
func (w *world) Go(f func()) { w.active.Go(f) }

// joinGrace is how long a join that is under way when the server leaves may take.
const joinGrace = 500 * time.Millisecond

// close stops the goroutines and waits for them. Worker.Leave has stopped those of the worker.
// But a join may still be under way: when its answer comes, the worker leaves that generation,
// too. So close gives the answer time to come before it closes the connection.
func (w *world) close() {
	close(w.stopped)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.active.Wait()
	}()
	link.Wait(joinGrace, ended)
	w.beats.close()
	<-ended
	w.mover.close()
}

// Do implements hold.World. It sends beats and moves once. go-redis may send any other script
// again after a fault.
func (w *world) Do(path hold.Path, c hold.Command) (reply any, err error) {
	switch {
	case path == hold.Beating:
		reply, err = w.beat(c)
	case c.Move > 0:
		reply, err = w.mover.move(c)
	default:
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		reply, err = scriptOf(c).run(ctx, w.rdb, c.Keys, c.Args...).Result()
	}
	if isRefusal(err, "ERR Error compiling script") {
		return nil, fmt.Errorf("%w: %w", hold.ErrOldRedis, err)
	}
	return reply, err
}

// beat sends a command on the connection for beats. After an error the next beat makes another
// connection, perhaps to another node.
func (w *world) beat(c hold.Command) (any, error) {
	client, err := w.beats.get()
	if err != nil {
		return nil, err
	}
	reply, err := scriptOf(c).run(context.Background(), client, c.Keys, c.Args...).Result()
	if err != nil {
		w.beats.drop(client)
	}
	return reply, err
}

// Unblock implements hold.World. It does not wait for the move to end.
func (w *world) Unblock() {
	w.mover.interrupt()
	link.Signal(w.unblocks)
}

// breakMove ends a move that Redis does not end, by closing its connection.
func (w *world) breakMove() { w.mover.breakOff(nil) }

// moveGrace is how long the answer to a move may take once the move no longer blocks in Redis.
// After that its connection counts as dead.
const moveGrace = time.Second

// unblock ends moves until the world is closed.
func (w *world) unblock() {
	for {
		select {
		case <-w.unblocks:
		case <-w.stopped:
			return
		}
		m := w.mover.underWay()
		if m == nil {
			continue
		}
		client, err := w.beats.get()
		if err != nil {
			continue // the next beat asks for it again
		}
		waited, err := client.ClientUnblock(context.Background(), m.id).Result()
		// 0 says that Redis knows of no move that blocks, on a connection of this id.
		if err == nil && waited == 0 && link.Wait(moveGrace, m.done) {
			w.mover.breakOff(m)
		}
	}
}

// A signal is a hold.Signal. Set wakes all that wait.
type signal struct {
	mu    sync.Mutex    // protects following
	set   bool          // Set was called since the last reset
	woken chan struct{} // closed by Set
}

// NewSignal implements hold.World.
func (w *world) NewSignal() hold.Signal { return &signal{woken: make(chan struct{})} }

// Set implements hold.Signal.
func (s *signal) Set() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = true
	close(s.woken)
	s.woken = make(chan struct{})
}

// reset resets the signal. It reports whether the signal was set, and returns the channel
// that the next Set closes.
func (s *signal) reset() (set bool, woken <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set, s.set = s.set, false
	return set, s.woken
}

// Wait implements hold.World.
func (w *world) Wait(s hold.Signal, d time.Duration) {
	set, woken := s.(*signal).reset()
	if !set && !link.Wait(d, woken) {
		s.(*signal).reset()
	}
}
