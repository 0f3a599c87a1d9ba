package hold

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	lease = 4 * time.Second
	pace  = lease / 4
)

// A bubble is a synctest bubble with a real Redis outside it. In the bubble time stands still while
// Redis works.
type bubble struct {
	*testing.T
	*broker
	outside chan *line
	lease   time.Duration // of those who join
}

// A line takes work to a goroutine outside the bubble. To wait for one there keeps the
// bubble's time from running, and go-redis from living in it.
type line struct {
	work chan func()
	done chan struct{}
}

// inBubble runs a test in a bubble, and requires that it leaves no key behind.
func inBubble(t *testing.T, test func(b *bubble)) {
	t.Parallel()
	broker := startBroker(t)
	outside := make(chan *line, 16)
	for range cap(outside) {
		l := &line{make(chan func()), make(chan struct{})}
		go func() {
			for work := range l.work {
				work()
				l.done <- struct{}{}
			}
		}()
		t.Cleanup(func() { close(l.work) })
		outside <- l
	}
	synctest.Test(t, func(t *testing.T) { test(&bubble{t, broker, outside, lease}) })
	broker.requireKeys(t, keys{})
}

// talk does what needs Redis.
func (b *bubble) talk(work func()) {
	l := <-b.outside
	l.work <- work
	<-l.done
	b.outside <- l
}

// pass lets time pass, and waits until all is quiet.
func (b *bubble) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// push pushes requests, the oldest first.
func (b *bubble) push(bodies ...any) {
	b.Helper()
	b.command(append([]any{"lpush", ours.Queue}, bodies...)...)
}

func (b *bubble) command(args ...any) any {
	b.Helper()
	var reply any
	var err error
	b.talk(func() { reply, err = b.do(args...) })
	require.NoError(b, err)
	return reply
}

// undoing undoes what happens meanwhile.
func (b *bubble) undoing(happens func()) {
	b.Helper()
	var err error
	b.talk(func() { err = b.save() })
	require.NoError(b, err)
	happens()
	b.talk(func() { err = b.undo() })
	require.NoError(b, err)
}

// requireKeys requires that Redis has these keys besides the rows of the workers, and no
// others.
func (b *bubble) requireKeys(want keys) {
	b.Helper()
	synctest.Wait()
	var have keys
	b.talk(func() { have = b.keys(b.T) })
	delete(have, ours.workers())
	require.Equal(b, want, have)
}

// A fault is what happens to a command. run sends it.
type fault func(run func() (any, error)) (any, error)

// refused is a command that Redis does not get.
func refused(func() (any, error)) (any, error) { return nil, errFault }

// unheard is a command whose answer is lost.
func unheard(run func() (any, error)) (any, error) {
	_, _ = run()
	return nil, errFault
}

// tried is a command whose answer is lost and which is sent again on the way.
func tried(run func() (any, error)) (any, error) {
	_, _ = run()
	return run()
}

var errFault = errors.New("a fault of the test")

// faults are those of some commands.
type faults func(c Command) fault

// all applies a fault to each command of these scripts or, if none is named, to every command.
func all(f fault, scripts ...*Script) faults {
	return func(c Command) fault {
		if len(scripts) == 0 || slices.Contains(scripts, c.Script) {
			return f
		}
		return nil
	}
}

// once applies a fault to the next command of a script.
func once(f fault, s *Script) faults {
	return func(c Command) fault {
		if c.Script != s {
			return nil
		}
		defer func() { f = nil }()
		return f
	}
}

// A member is a Worker and its World.
type member struct {
	*Worker
	b        *bubble
	began    time.Time
	unblocks chan struct{}
	active   sync.WaitGroup

	mu     sync.Mutex // protects following
	faults faults
	told   []string // events
}

// join starts a Worker, which leaves at the end of the test unless it has before.
func (b *bubble) join(name string) *member {
	b.Helper()
	m := b.start(name, nil)
	b.pass(0)
	require.NoError(b, m.Err())
	require.NotEmpty(b, m.generation())
	return m
}

// joinTwo starts two Workers whose beats don't meet.
func (b *bubble) joinTwo() (m, other *member) {
	b.Helper()
	m = b.join("m")
	b.pass(pace / 2)
	return m, b.join("other")
}

// start starts a Worker that may not get to join.
func (b *bubble) start(name string, f faults) *member {
	m := &member{b: b, began: time.Now(), unblocks: make(chan struct{}, 1), faults: f}
	m.Worker = New(m, Options{
		Keys: ours, Name: name, Lease: b.lease, MaxStarts: 2, MaxDead: 10, MaxBytes: kilobyte, Block: time.Minute,
		Events: (*record)(m),
	})
	b.Cleanup(m.quit)
	return m
}

// quit ends a Worker that has no answers to send.
func (m *member) quit() {
	m.suffer(nil)
	left, err := m.Leave()
	require.NoError(m.b, err)
	require.Zero(m.b, left)
	m.active.Wait()
}

func (m *member) generation() string {
	m.Worker.mu.Lock()
	defer m.Worker.mu.Unlock()
	return m.gen
}

// fetch fetches bodies.
func (m *member) fetch(bodies ...string) []*Request {
	m.b.Helper()
	requests, err := m.Fetch(9)
	require.NoError(m.b, err)
	var got []string
	for _, r := range requests {
		got = append(got, r.Body)
	}
	require.Equal(m.b, bodies, got)
	return requests
}

// settle settles requests by answers that are not kept.
func (m *member) settle(requests ...*Request) {
	m.b.Helper()
	answers := make([]Answer, len(requests))
	for i, r := range requests {
		answers[i] = Answer{r, []byte("answer")}
	}
	reply, err := m.Do(Mending, m.SettleCommand("reply", time.Minute, answers))
	require.NoError(m.b, err)
	notHeld, _ := NotHeld(reply)
	require.Empty(m.b, notHeld)
	m.Settled(requests...)
	m.b.command("del", "reply")
}

// suffer applies these faults, and no others, to the member's commands from now on.
func (m *member) suffer(f faults) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = f
}

// Now implements World.
func (m *member) Now() time.Duration { return time.Since(m.began) }

// Go implements World.
func (m *member) Go(f func()) { m.active.Go(f) }

// Do implements World.
func (m *member) Do(_ Path, c Command) (any, error) {
	run := func() (reply any, err error) {
		if c.Move > 0 {
			m.move(c)
		}
		m.b.talk(func() { reply, err = m.b.run(c) })
		return reply, err
	}
	if f := m.faultOf(c); f != nil {
		return f(run)
	}
	return run()
}

func (m *member) faultOf(c Command) fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.faults == nil {
		return nil
	}
	return m.faults(c)
}

// move waits as a BLMOVE does, but by the bubble's time.
func (m *member) move(c Command) {
	var moved any
	over := time.After(c.Move)
	for {
		m.b.talk(func() { moved, _ = m.b.do("lmove", c.Queue, c.Into, "right", "left") })
		if moved != nil {
			return
		}
		select {
		case <-time.After(pace / 10):
		case <-m.unblocks:
			return
		case <-over:
			return
		}
	}
}

// Unblock implements World.
func (m *member) Unblock() {
	select {
	case m.unblocks <- struct{}{}:
	default:
	}
}

// A signal wakes one that waits.
type signal chan struct{}

// NewSignal implements World.
func (m *member) NewSignal() Signal { return make(signal, 1) }

func (s signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Wait implements World.
func (m *member) Wait(s Signal, d time.Duration) {
	select {
	case <-s.(signal):
	case <-time.After(d):
	}
}

// A record notes a member's events.
type record member

func (e *record) note(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, fmt.Sprintf(format, args...))
}

func (e *record) Failed(string, error)         {}
func (e *record) Worked(string)                {}
func (e *record) Gone()                        { e.note("gone") }
func (e *record) TookOver(requests int)        { e.note("took over %d", requests) }
func (e *record) Orphaned(requests int)        { e.note("%d orphans", requests) }
func (e *record) Died(body string, starts int) { e.note("%s died, started %d times", body, starts) }
func (e *record) Dropped(dead int)             { e.note("dropped %d", dead) }

// requireTold requires that the member has told these events and no others.
func (m *member) requireTold(events ...string) {
	m.b.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Equal(m.b, events, m.told)
}
