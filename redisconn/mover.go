package redisconn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A mover waits for requests on a connection whose CLIENT ID it knows: CLIENT UNBLOCK with that
// id ends the wait. The fetcher calls move. Any goroutine may call interrupt, underWay, breakOff
// and close.
type mover struct {
	*shared
	own        *ownClient
	interrupts chan struct{} // receives if a pause has to end

	// The fetcher's own.
	conn     *redis.Conn
	id       int64 // of conn; 0: Redis refuses to tell it, or to unblock
	noMemory bool  // Redis refused the last move since it has no memory
	warned   bool  // warn has logged

	mu      sync.Mutex // protects following
	current *moving    // nil: there is none
}

// A moving is a move that is under way.
type moving struct {
	id   int64
	done chan struct{} // closed when the move has ended
}

const (
	// moveMargin is how much longer than Redis blocks we wait for its answer.
	moveMargin = 10 * time.Second

	// shortBlock is how long a move waits if CLIENT UNBLOCK can't end it.
	shortBlock = time.Second

	// refusedPause is the pause before a move if Redis had no memory for the last one, which
	// therefore did not wait.
	refusedPause = 100 * time.Millisecond
)

func newMover(s *shared) *mover {
	return &mover{shared: s, own: newOwnClient(s, blockTime+moveMargin), interrupts: make(chan struct{}, 1)}
}

// move waits until there is a request, or for c.Move at most, and then runs the script of c.
func (m *mover) move(c hold.Command) (any, error) {
	if m.noMemory {
		link.Wait(refusedPause, m.interrupts)
	}
	if err := m.connect(); err != nil {
		return nil, err
	}
	block := c.Move
	if m.id == 0 {
		block = min(block, shortBlock)
	}
	done := m.begin()
	move, run := m.send(block, c)
	done()
	err := move.Err()
	switch m.noMemory = isRefusal(err, "OOM"); {
	case err == nil, errors.Is(err, redis.Nil), m.noMemory: // the script has run in spite of it
		err = run.Err()
	}
	if err != nil {
		m.disconnect()
		return nil, err
	}
	return run.Result()
}

// begin notes that a move is under way; done notes that it has ended.
func (m *mover) begin() (done func()) {
	current := &moving{id: m.id, done: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = current
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.current = nil
		close(current.done)
	}
}

// send sends the move and the script in one pipeline, so that the script takes at once what was
// moved. So a lone call takes 1.3 times as long as with AtMostOnce. If the script were sent after
// the answer to the move, it would be 1.7 times.
func (m *mover) send(block time.Duration, c hold.Command) (move, run unrepeated) {
	ctx := context.Background()
	pipeline := m.conn.Pipeline()
	move = process(pipeline, "blmove", c.Queue, c.Into, "right", "left", block.Seconds())
	run = process(pipeline, scriptOf(c).args(true, c.Keys, c.Args)...)
	_, _ = pipeline.Exec(ctx) // each command has its own error
	if isRefusal(run.Err(), "NOSCRIPT") {
		run = newUnrepeated(ctx, scriptOf(c).args(false, c.Keys, c.Args)...)
		_ = m.conn.Process(ctx, run)
	}
	return move, run
}

// connect gets a connection and its CLIENT ID.
func (m *mover) connect() error {
	if m.conn != nil {
		return nil
	}
	client, err := m.own.get()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	conn := client.Conn()
	id, err := conn.ClientID(ctx).Result()
	if err == nil { // no client has the id 0: this shows whether CLIENT UNBLOCK is allowed
		err = conn.ClientUnblock(ctx, 0).Err()
	}
	switch {
	case isRefused(err):
		m.warn(err)
		id = 0
	case err != nil:
		_ = conn.Close()
		m.own.drop(client)
		return err
	}
	m.conn, m.id = conn, id
	return nil
}

// warn logs, the first time, that moves can't be ended.
func (m *mover) warn(err error) {
	if m.warned {
		return
	}
	m.warned = true
	m.state.Logger.Warn("a drain takes up to a second longer: the rights to CLIENT ID and CLIENT UNBLOCK are missing",
		slog.Any("error", err))
}

// disconnect closes the connection after an error. The next move makes one, perhaps to another
// node.
func (m *mover) disconnect() {
	_ = m.conn.Close()
	m.conn = nil
	m.own.drop(nil)
}

// interrupt ends the pause before a move.
func (m *mover) interrupt() { link.Signal(m.interrupts) }

// underWay returns the move that is under way. It returns nil if there is none, or if it
// can't be ended.
func (m *mover) underWay() *moving {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current == nil || m.current.id == 0 {
		return nil
	}
	return m.current
}

// breakOff closes the connection of a move if that move is still under way. A nil move
// stands for any.
func (m *mover) breakOff(move *moving) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if move == nil || move == m.current {
		m.own.drop(nil)
	}
}

func (m *mover) close() { m.own.close() }
