package hold

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTakeOver shows that what a silent worker holds is taken over when its row has not changed for
// a lease, and not before. The silent worker then learns that it is gone.
func TestTakeOver(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m, other := b.joinTwo()
		b.push("a", "b")
		taken := m.fetch("a", "b")
		b.pass(2 * lease)
		m.suffer(all(refused))
		b.pass(lease - 1)
		other.fetch()
		other.requireTold()
		b.pass(2*pace + 1)
		other.requireTold("took over 2")

		again := other.fetch("a") // one at a time
		require.Equal(b, 1, again[0].Starts)
		require.True(b, other.Begin(again[0]))
		m.suffer(nil)
		b.pass(pace)
		m.requireTold("gone")
		reply, err := m.Do(Mending, m.SettleCommand("reply", time.Minute, []Answer{{taken[0], nil}}))
		require.NoError(b, err)
		notHeld, _ := NotHeld(reply)
		require.Equal(b, map[int]bool{0: true}, notHeld)
		require.NoError(b, m.Release(taken...)) // of a generation that was: nothing
		other.settle(again...)
		other.settle(other.fetch("b")...)
	})
}

// TestLeases shows that the longer of both leases counts.
func TestLeases(t *testing.T) {
	for _, theirs := range []time.Duration{lease / 4, lease, 4 * lease} {
		t.Run(theirs.String(), func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				m := b.join("m")
				b.command("hset", ours.workers(), "x.1.1", fmt.Sprintf("1 %d", theirs.Milliseconds()))
				b.pass(pace) // it is received
				b.pass(max(lease, theirs) - 1)
				require.EqualValues(b, 1, b.command("hexists", ours.workers(), "x.1.1"))
				b.pass(pace + 1)
				require.EqualValues(b, 0, b.command("hexists", ours.workers(), "x.1.1"))
				m.requireTold()
			})
		})
	}
}

// TestGap shows that a gap between a worker's own beats is no silence of others: Redis answered
// nobody. Otherwise the worker that reaches Redis first would take over what all others have.
func TestGap(t *testing.T) {
	for name, omitted := range map[string]Rule{"with the rule": "", "without it": GapRule} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bubble) {
				m, other := b.joinTwo()
				other.Omit(omitted)
				b.push("a")
				taken := m.fetch("a")
				b.pass(lease)
				m.suffer(all(refused))
				other.suffer(all(refused))
				b.pass(2 * lease)
				other.suffer(nil)
				b.pass(lease / 2)
				m.suffer(nil)
				b.pass(2 * lease)
				if omitted == GapRule {
					other.requireTold("took over 1")
					m.requireTold("gone")
					taken = other.fetch("a")
					other.settle(taken...)
					return
				}
				other.requireTold()
				m.requireTold()
				require.True(b, m.Begin(taken[0]))
				m.settle(taken...)
			})
		})
	}
}

// TestShortGaps shows that short gaps are no silence of others, either: each beat of a worker that
// beats less often may have met one.
func TestShortGaps(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.lease = lease / 8
		other := b.join("other")
		b.push("a")
		taken := m.fetch("a")
		b.pass(lease)
		m.suffer(all(refused))
		for range 6 {
			other.suffer(all(refused))
			b.pass(pace * 4 / 5)
			other.suffer(nil)
			b.pass(pace / 5)
		}
		m.suffer(nil)
		b.pass(lease)
		m.requireTold()
		other.requireTold()
		require.True(b, m.Begin(taken[0]))
		m.settle(taken...)
	})
}

// TestGapAndGone shows the same for a worker that learns at the end of the gap that its own
// generation is gone: what it had seen of others before does not count.
func TestGapAndGone(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m, other := b.joinTwo()
		b.push("a")
		taken := m.fetch("a")
		b.pass(lease)
		m.suffer(all(refused))
		b.pass(pace) // other sees m's last row
		other.suffer(all(refused))
		b.pass(2 * lease)
		b.command("hdel", ours.workers(), other.generation()) // its join is undone
		other.suffer(nil)
		b.pass(2 * pace)
		other.requireTold("gone")
		m.suffer(nil)
		b.pass(2 * lease)
		m.requireTold()
		other.requireTold("gone")
		require.True(b, m.Begin(taken[0]))
		m.settle(taken...)
	})
}

// TestNoTakeOverWhileStopped shows that a worker which has stopped leaves the others'
// requests to others: its server can't answer those that are dead.
func TestNoTakeOverWhileStopped(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m, other := b.joinTwo()
		b.push("a")
		m.fetch("a")
		b.pass(lease)
		other.Stop()
		m.suffer(all(refused))
		b.pass(lease + 3*pace)
		other.requireTold()
		last := b.join("last")
		b.pass(lease + 2*pace)
		last.requireTold("took over 1")
		last.settle(last.fetch("a")...)
	})
}

// TestDies shows that a request whose workers fall silent each time is given up when it
// was started often enough, and that one which was not begun is not counted.
func TestDies(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.push("a")
		for i, begins := range []bool{true, false, true} {
			m := b.join(fmt.Sprint("m", i))
			b.pass(lease + 2*pace)
			taken := m.fetch("a")
			require.Equal(b, min(i, 1), taken[0].Starts)
			if begins {
				require.True(b, m.Begin(taken[0]))
			}
			m.suffer(all(refused))
		}
		last := b.join("last")
		b.pass(lease + 2*pace)
		last.requireTold("a died, started 2 times")
		last.fetch()
		b.requireKeys(keys{"dead": list{"2, its server died each time\na"}})
		b.command("del", ours.Dead())
	})
}

// TestBites shows that a silent worker's requests are taken over until none is left, and
// also after an answer to that was lost.
func TestBites(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		for i := range 640 {
			b.push(i % 10)
		}
		_, err := m.Fetch(640)
		require.NoError(b, err)
		other := b.join("other")
		b.pass(lease)
		m.suffer(all(refused))
		other.suffer(once(unheard, reap))
		b.pass(lease + 3*pace)
		other.requireTold("took over 256", "took over 128")
		require.EqualValues(b, 640, b.command("llen", ours.suspects()))
		require.Equal(b, "1 0", b.command("lindex", ours.suspects(), 0))
		b.command("del", ours.suspects())
	})
}

// TestOneSuspect shows that a worker tries one suspect at a time, takes others meanwhile,
// and waits for no beat to take the next.
func TestOneSuspect(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		m.fetch()
		began := m.Now()
		b.command("rpush", ours.suspects(), "1 s", "1 t")
		m.fetch() // a beat ends the wait
		tried := m.fetch("s")
		require.LessOrEqual(b, m.Now(), began+pace)
		b.push("a")
		m.settle(m.fetch("a")...)
		m.fetch()

		time.AfterFunc(2*lease, func() { m.settle(tried...) })
		began = m.Now()
		m.fetch()
		m.settle(m.fetch("t")...)
		require.Equal(b, began+2*lease, m.Now())
	})
}

// TestBegin shows that the start of a suspect is noted once, even if the answer is lost, and that a
// suspect is not started when it is not held any more.
func TestBegin(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("rpush", ours.suspects(), "1 s", "1 t")
		b.pass(pace)
		taken := m.fetch("s")
		m.suffer(once(unheard, begin))
		require.True(b, m.Begin(taken[0]))
		b.requireKeys(keys{"suspects": list{"1 t"},
			"held:m.T": hash{"s1.T": "s", "ns1.T": "2", "last": "1", "next": "2", "moment": "T"}})
		m.settle(taken...)

		taken = m.fetch("t")
		b.command("hset", ours.workers(), taken[0].Gen(), "gone") // by a reap of which no beat has heard
		require.False(b, m.Begin(taken[0]))
		b.pass(lease)
		m.requireTold("gone", "took over 1")
		m.settle(m.fetch("t")...)
	})
}

// TestOrphans shows that requests whose settling was undone become suspects, also if
// that has to be tried again.
func TestOrphans(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.command("rpush", ours.suspects(), "1 s")
		b.push("a", "b")
		b.pass(pace)
		taken := m.fetch("s", "a", "b")
		require.True(b, m.Begin(taken[0]))
		b.undoing(func() { m.settle(taken[:2]...) })
		m.suffer(once(refused, release))
		b.pass(pace)
		m.requireTold()
		b.pass(pace)
		m.requireTold("2 orphans")
		b.requireKeys(keys{"suspects": list{"1 a", "2 s"},
			"held:m.T": hash{"3.T": "b", "last": "1", "next": "4", "moment": "T"}})
		require.True(b, m.Begin(taken[2]))
		m.settle(taken[2])
		for _, body := range []string{"a", "s"} {
			m.settle(m.fetch(body)...)
		}
	})
}

// TestTakeUndone shows that a worker runs what it has taken even if a failover has undone the take.
// The request is queued again, and the worker's answer is not pushed.
func TestTakeUndone(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a")
		var before []*Request
		b.undoing(func() { before = m.fetch("a") })
		b.pass(pace)
		require.True(b, m.Begin(before[0]))
		after := m.fetch("a")
		require.NotEqual(b, before, after)
		m.settle(after...)
		reply, err := m.Do(Mending, m.SettleCommand("reply", time.Minute, []Answer{{before[0], nil}}))
		require.NoError(b, err)
		notHeld, _ := NotHeld(reply)
		require.Equal(b, map[int]bool{0: true}, notHeld)
		m.Settled(before...)
		m.requireTold()
	})
}

// TestJoinUndone shows that a worker which Redis has forgotten joins again.
func TestJoinUndone(t *testing.T) {
	inBubble(t, func(b *bubble) {
		var m *member
		b.undoing(func() { m = b.join("m") })
		b.pass(pace)
		m.requireTold("gone")
		b.push("a")
		m.settle(m.fetch("a")...)
	})
}

// TestClaimed shows how answers go to another slot: a claim may be repeated, and what is claimed is
// no orphan.
func TestClaimed(t *testing.T) {
	inBubble(t, func(b *bubble) {
		m := b.join("m")
		b.push("a", "b")
		taken := m.fetch("a", "b")
		for range 2 {
			reply, err := m.Do(Mending, m.ClaimCommand(taken))
			require.NoError(b, err)
			notHeld, _ := NotHeld(reply)
			require.Empty(b, notHeld)
		}
		b.pass(2 * lease)
		m.requireTold()
		b.command(m.DropArgs(taken)...)
		m.Settled(taken...)
		b.requireKeys(keys{"held:m.T": hash{"last": "1", "next": "3", "moment": "T"}})
	})
}
