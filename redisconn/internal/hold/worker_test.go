package hold

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestServe shows a request's way, and that nothing is left of it.
func TestServe(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		taken := m.fetch("a", "b")
		for _, r := range taken {
			require.False(b, r.Suspect)
			require.Zero(b, r.Starts)
			require.True(b, m.Begin(r))
		}
		m.settle(taken...)
		b.pass(2 * lease)
		b.requireKeys(keys{"held:m.T": hash{"last": "1", "next": "3", "moment": "T"}})
		m.requireTold()
	})
}

// TestIdle shows the row queue → ready: a worker that found nothing waits for a move.
func TestIdle(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		m.fetch()
		time.AfterFunc(3*lease, func() { b.push("a") })
		m.settle(m.fetch("a")...)
		require.Less(b, m.Now(), 4*lease)
	})
}

// TestMovedForAnother shows that a request is not lost whose move got no answer: the beat of an
// idle worker finds what is ready, and ends that worker's wait.
func TestMovedForAnother(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		m.fetch()
		time.AfterFunc(lease/2, func() { b.command("lpush", ours.ready(), "a") })
		m.settle(m.fetch("a")...)
		require.LessOrEqual(b, m.Now(), lease/2+pace+pace/10)
	})
}

// TestStop shows that Stop ends a wait, and that nothing is fetched or begun after it.
func TestStop(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a")
		taken := m.fetch("a")
		time.AfterFunc(lease, m.Stop)
		m.fetch()
		require.Equal(b, lease, m.Now())
		require.False(b, m.Begin(taken[0]))
		require.NoError(b, m.Release(taken...))
		b.push("b")
		m.fetch()
		b.requireKeys(keys{"queue": list{"b", "a"}, "held:m.T": hash{"last": "1", "next": "2", "moment": "T"}})
		b.command("del", "queue")
	})
}

// TestSameBatch shows that a take whose answer was lost is asked for again: nothing is
// fetched twice, and nothing is forgotten.
func TestSameBatch(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		m.suffer(once(tried, take))
		m.settle(m.fetch("a", "b")...)

		b.push("c", "d")
		m.suffer(once(unheard, take))
		_, err := m.Fetch(9)
		require.ErrorIs(b, err, errFault)
		m.settle(m.fetch("c", "d")...) // and it does not wait for a move before: nothing is queued
		b.push("e")
		m.settle(m.fetch("e")...)
		require.Zero(b, m.Now())
		m.requireTold()
	})
}

// TestReadyIsLeft shows that a worker without room for all that is ready takes the rest
// as soon as it has room: it waits for no beat that finds it.
func TestReadyIsLeft(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("lpush", ours.ready(), "a", "b", "c")
		m.suffer(once(tried, take))
		for _, want := range []string{"a", "b", "c"} {
			taken, err := m.Fetch(1)
			require.NoError(b, err)
			require.Len(b, taken, 1)
			require.Equal(b, want, taken[0].Body)
			m.settle(taken...)
		}
		require.Zero(b, m.Now())
	})
}

// TestLargeTake keeps a take from being larger than a script's stack: it would have lost
// all that it had popped.
func TestLargeTake(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push(slices.Repeat([]any{"a"}, maxTaken+1)...)
		for _, want := range []int{maxTaken, 1} {
			taken, err := m.Fetch(10 * maxTaken)
			require.NoError(b, err)
			require.Len(b, taken, want)
			m.settle(taken...)
		}
	})
}

// TestUnheardTake shows that fields at or above the worker's token are no orphans,
// however many beats find them, and that they are fetched.
func TestUnheardTake(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a")
		m.suffer(once(unheard, take))
		_, err := m.Fetch(9)
		require.ErrorIs(b, err, errFault)
		b.pass(2 * lease)
		m.requireTold()
		b.requireKeys(keys{"held:m.T": hash{"1.T": "a", "last": "1", "next": "2", "moment": "T"}})
		m.settle(m.fetch("a")...)
	})
}

// TestUnheardTakeBehindMove keeps a take whose answer was lost from waiting behind its
// own move when it is sent again: the next beat finds it and ends the move.
func TestUnheardTakeBehindMove(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		m.fetch()
		b.push("a")
		m.suffer(once(tried, take))
		m.settle(m.fetch("a")...)
		require.LessOrEqual(b, m.Now(), pace+pace/10)
	})
}

// TestTokenBehind shows that a worker whose token is behind learns the next one. Otherwise it would
// take nothing ever again.
func TestTokenBehind(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		m.settle(m.fetch("a", "b")...)
		m.Worker.mu.Lock()
		m.token = 2
		m.Worker.mu.Unlock()
		b.push("c")
		m.fetch()
		m.settle(m.fetch("c")...)
	})
}

// TestOldRedis and TestLayout show that a worker serves nothing, and says why.
func TestOldRedis(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.start("m", all(func(func() (any, error)) (any, error) { return nil, ErrOldRedis }))
		requireFails(b, m, ErrOldRedis.Error())
	})
}

func TestLayout(t *testing.T) {
	for found, command := range map[string][]any{
		"0": {"zadd", ours.workers(), 1, "x"},
		"7": {"hset", ours.workers(), "layout", "7", "x", "1 1000"},
	} {
		t.Run(found, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				b.command(command...)
				m := b.start("m", nil)
				requireFails(b, m, "layout "+found+", this one in layout "+Layout)
				b.command("del", ours.workers())
			})
		})
	}
}

func requireFails(b *bubble, m *member, text string) {
	b.Helper()
	b.push("a")
	b.pass(0)
	require.ErrorContains(b, m.Err(), text)
	_, err := m.Fetch(9)
	require.ErrorIs(b, err, m.Err())
	b.requireKeys(keys{"queue": list{"a"}})
	b.command("del", "queue")
}

// TestJoinUnheard shows that a row is removed that no worker uses, since the answer to its join was
// lost.
func TestJoinUnheard(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.start("m", once(unheard, join))
		b.pass(pace)
		require.NotEmpty(b, m.generation())
		require.EqualValues(b, 3, b.command("hlen", ours.workers()))
		b.pass(lease + 2*pace)
		require.EqualValues(b, 2, b.command("hlen", ours.workers()))
		m.requireTold()
	})
}

// TestGone shows that a worker which is told gone begins nothing more of the generation
// before it joins again, though its lease still holds.
func TestGone(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		taken := m.fetch("a", "b")
		require.True(b, m.Begin(taken[0]))
		b.command("flushdb")
		m.suffer(all(refused, join))
		b.pass(pace)
		m.requireTold("gone")
		require.False(b, m.Begin(taken[1]))
		m.fetch()
		require.Empty(b, m.generation())

		m.suffer(nil)
		b.pass(pace)
		require.NotEqual(b, taken[0].Gen(), m.generation())
		require.False(b, m.Begin(taken[1]))
		reply, err := m.Do(Mending, m.SettleCommand("reply", time.Minute, []Answer{{taken[0], nil}}))
		require.NoError(b, err)
		notHeld, _ := NotHeld(reply)
		require.Equal(b, map[int]bool{0: true}, notHeld)
		b.push("c")
		m.settle(m.fetch("c")...)
		m.requireTold("gone")
	})
}

// TestGoneTake shows that a worker also learns from a take that its generation is gone.
func TestGoneTake(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("flushdb")
		m.fetch()
		m.requireTold("gone")
		require.NotEmpty(b, m.generation())
	})
}

// TestOwnLease shows that nothing begins once the own lease has run out, until a beat
// shows that nobody has taken over.
func TestOwnLease(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		taken := m.fetch("a", "b")
		m.suffer(all(refused))
		b.pass(lease - 1)
		require.True(b, m.Begin(taken[0]))
		b.pass(1)
		time.AfterFunc(lease/2, func() { m.suffer(nil) })
		require.True(b, m.Begin(taken[1]))
		require.Greater(b, m.Now(), lease+lease/4)
		m.settle(taken...)

		b.push("c")
		taken = m.fetch("c")
		m.suffer(all(refused))
		b.pass(2 * lease)
		m.fetch() // nothing, and without an error: it waits for a beat
		time.AfterFunc(lease, m.Stop)
		require.False(b, m.Begin(taken[0]))
		m.suffer(nil)
		require.NoError(b, m.Release(taken...))
		b.command("del", "queue")
	})
}

// TestReleaseOrder shows that requests which are given back are taken next, the oldest first.
func TestReleaseOrder(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("rpush", ours.suspects(), "1 s", "1 t")
		b.pass(pace)
		b.push("a", "b", "c")
		taken := m.fetch("s", "a", "b", "c")
		b.push("d")
		m.suffer(once(refused, release))
		require.ErrorIs(b, m.Release(taken...), errFault)
		require.NoError(b, m.Release(taken...))
		b.requireKeys(keys{
			"queue": list{"d", "c", "b", "a"}, "suspects": list{"1 s", "1 t"},
			"held:m.T": hash{"last": "1", "next": "5", "moment": "T"},
		})
		require.NoError(b, m.Release(taken...)) // again
		m.settle(m.fetch("s", "a", "b", "c", "d")...)
		b.command("del", ours.suspects())
	})
}

// TestLeave shows that what is held goes back.
func TestLeave(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		m.fetch("a", "b")
		m.suffer(once(unheard, leave))
		_, err := m.Leave()
		require.ErrorIs(b, err, errFault)
		left, err := m.Leave()
		require.NoError(b, err)
		require.Zero(b, left)
		b.requireKeys(keys{"queue": list{"b", "a"}})
		b.command("del", "queue")
	})
}

// TestLeaveReleases shows that Leave gives back what Release could not, with its true count of
// starts: Redis has noted a start that did not happen.
func TestLeaveReleases(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("rpush", ours.suspects(), "1 s")
		b.pass(pace)
		taken := m.fetch("s")
		require.True(b, m.Begin(taken[0]))
		m.suffer(all(refused, release))
		require.ErrorIs(b, m.Release(taken...), errFault)
		_, err := m.Leave()
		require.ErrorIs(b, err, errFault)
		m.suffer(nil)
		left, err := m.Leave()
		require.NoError(b, err)
		require.Zero(b, left)
		b.requireKeys(keys{"suspects": list{"1 s"}})
		b.command("del", ours.suspects())
	})
}

// TestLeaveMany shows that more goes back than one script sorts.
func TestLeaveMany(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push(slices.Repeat([]any{"a"}, 2500)...)
		for range 3 {
			_, err := m.Fetch(maxTaken)
			require.NoError(b, err)
		}
		left, err := m.Leave()
		require.NoError(b, err)
		require.Zero(b, left)
		require.EqualValues(b, 2500, b.command("llen", ours.Queue))
		b.command("del", ours.Queue)
	})
}

// TestLeaveUnsent shows that the row stays for requests whose answers could not be sent:
// others take them over.
func TestLeaveUnsent(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		taken := m.fetch("a", "b")
		require.True(b, m.Begin(taken[0]))
		gen := m.generation()
		left, err := m.Leave()
		require.NoError(b, err)
		require.Equal(b, 1, left)
		m.active.Wait()
		require.NotNil(b, b.command("hget", ours.workers(), gen))
		b.requireKeys(keys{"queue": list{"b"}, "held:m.T": hash{"1.T": "a", "last": "1", "next": "3", "moment": "T"}})

		other := b.join("other")
		b.pass(lease + pace)
		other.requireTold("took over 1")
		again := other.fetch("a", "b")
		require.Equal(b, 1, again[0].Starts)
		require.True(b, again[0].Suspect)
		other.settle(again...)
	})
}

// TestLeaveWhileJoining keeps a join that is under way at a Leave from leaving its row
// behind.
func TestLeaveWhileJoining(t *testing.T) {
	inBubble(t, func(b *bubble) {
		joined, answer := make(chan struct{}), make(chan struct{})
		m := b.start("m", all(func(run func() (any, error)) (any, error) {
			defer func() { <-answer }()
			defer close(joined)
			return run()
		}, join))
		<-joined
		left, err := m.Leave()
		require.NoError(b, err)
		require.Zero(b, left)
		close(answer)
		m.active.Wait()
		require.EqualValues(b, 0, b.command("exists", ours.workers()))
	})
}
