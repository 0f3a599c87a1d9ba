package redisconn

import "github.com/micromessaging/jsonrpc2/redisconn/internal/hold"

// A source is where a server takes its requests from: a popped with AtMostOnce, a held with
// AtLeastOnce. One goroutine calls take. Any may call the other methods.
type source interface {
	settler

	// start starts the source's own goroutines.
	start()

	// take waits for requests, for blockTime at most, and takes up to n. A fatalError
	// ends the serving.
	take(n int) ([]delivery, error)

	// stop ends the waits of take until done is closed: then take is called no
	// more. A held source also begins nothing any more.
	stop(done <-chan struct{})

	// begin reports whether a request may be started. It waits until that is known.
	begin(d delivery) bool

	// giveBack gives back requests, oldest first, that were not begun. It reports
	// whether it has done so; if not, the next giveBack tries it for these, too.
	giveBack(requests []delivery) bool

	// leave ends the source. It is called when nothing runs any more.
	leave() error
}

// A settler says how requests are settled: with their answers or without.
type settler interface {
	// byScript reports whether the script that pushes answers settles their requests.
	byScript() bool

	// settling returns that script. hold.NotHeld reads its reply.
	settling(list string, pushes []push) hold.Command

	// claim settles the requests of answers if there is no such script. It returns the
	// indexes of the requests that had been taken over.
	claim(pushes []push) (notHeld map[int]bool, err error)

	// dropping returns the command that settles requests without an answer, or after
	// a claim.
	dropping(pushes []push) []any

	// settled notes that requests are settled, or were taken over.
	settled(pushes ...push)
}

// A fatalError ends the serving.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// A delivery is a request that was taken.
type delivery struct {
	body    string
	held    *hold.Request // without its body; nil: it is not held
	attempt int           // how often it was begun with this one; 0: not known
	dead    bool          // it is given up: only its caller gets an answer
}
