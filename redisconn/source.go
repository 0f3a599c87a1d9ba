package redisconn

import "github.com/micromessaging/jsonrpc2/redisconn/internal/hold"

// A source is where a server takes its requests from: a popped with AtMostOnce, a held with
// AtLeastOnce. The fetcher's goroutine calls take. Any goroutine may call the other methods.
type source interface {
	settler

	// start starts the source's own goroutines.
	start()

	// take waits for requests, for blockTime at most, and takes up to n. A fatalError
	// ends the serving.
	take(n int) ([]delivery, error)

	// stop ends a take that waits, and keeps later ones from waiting. done is closed when
	// take is no longer called. From stop on a held also begins nothing.
	stop(done <-chan struct{})

	// begin reports whether a request may be started. It waits until that is known.
	begin(d delivery) bool

	// giveBack gives back requests, oldest first, that were not begun. It reports whether
	// it has done so. If not, the source keeps the requests, and the next giveBack
	// includes them.
	giveBack(requests []delivery) bool

	// leave ends the source. It is called when no request runs any more and the replier
	// is closed.
	leave() error
}

// A settler says how requests are settled: with their answers or without.
type settler interface {
	// byScript reports whether the script that pushes answers settles their requests.
	byScript() bool

	// settling returns the command that runs that script. hold.NotHeld reads its reply.
	settling(list string, pushes []push) hold.Command

	// claim settles the requests of answers, before the answers are pushed, if there is no
	// such script. It returns the indexes of the answers whose requests were taken over.
	claim(pushes []push) (notHeld map[int]bool, err error)

	// dropping returns the command that settles requests without an answer, or after
	// a claim.
	dropping(pushes []push) []any

	// settled notes that the requests of pushes are settled, or were taken over.
	settled(pushes ...push)
}

// A fatalError ends the serving: ReadRequest returns it.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// A delivery is a request that was taken.
type delivery struct {
	body    string
	held    *hold.Request // without its body; nil: Redis does not hold it
	attempt int           // which start this is, from 1 on; 0: not known
	dead    bool          // it is given up: it is not run, and its caller gets an error
}
