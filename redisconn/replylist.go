package redisconn

import "github.com/micromessaging/jsonrpc2/internal/link"

// A replyList takes answers from the client's own list.
type replyList struct {
	*broker
	name   string
	popper popper
	inbox  *inbox
}

const (
	maxPop      = 256     // answers taken at once
	maxPopBytes = 8 << 20 // about as many bytes of them
)

// fetch takes answers until the ClientConn is closed.
func (l *replyList) fetch() {
	var backoff link.Backoff
	n := 1
	for !l.inbox.isClosed() {
		_, values, err := l.popper.pop(n, l.name)
		if err != nil {
			l.impaired("taking answers", err)
			link.Wait(backoff.Next(), l.inbox.closed)
			continue
		}
		l.worked("taking answers")
		backoff.Reset()
		n = nextPop(n, values)
		l.inbox.hand(answers{bodies: values})
	}
}

// nextPop returns how many answers the next pop asks for, after one that asked for n and got
// values. It asks for fewer if the answers are long, so that a flood of them does not fill
// the memory.
func nextPop(n int, values []string) int {
	longest := 1
	for _, value := range values {
		longest = max(longest, len(value))
	}
	if len(values) == n {
		n *= 2
	}
	return max(1, min(n, maxPop, maxPopBytes/longest))
}
