package redisconn

import "time"

// A backlog knows how many requests wait in the queue, or waited up to 100 ms ago. The
// client's sender alone uses it.
type backlog struct {
	limit int64                 // 0 for none
	ask   func() (int64, error) // how many wait

	depth int64
	asked time.Time // zero: the depth is not known
}

// backlogTime is how long a depth counts.
const backlogTime = 100 * time.Millisecond

// refresh asks for the depth, if there is a limit and the last answer is too old.
func (b *backlog) refresh() error {
	if b.limit == 0 || !b.asked.IsZero() && time.Since(b.asked) < backlogTime {
		return nil
	}
	depth, err := b.ask()
	b.set(depth, err)
	return err
}

// set sets the depth that the broker has answered, to LLEN or to a push. After an error the
// depth is not known.
func (b *backlog) set(depth int64, err error) {
	if b.limit == 0 {
		return
	}
	b.depth, b.asked = depth, time.Now()
	if err != nil {
		b.asked = time.Time{}
	}
}

// admit returns how many of n requests the queue has room for.
func (b *backlog) admit(n int) int {
	if b.limit == 0 {
		return n
	}
	return int(min(int64(n), max(b.limit-b.depth, 0)))
}
