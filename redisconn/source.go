package redisconn

import "github.com/micromessaging/jsonrpc2/redisconn/internal/hold"

// A source is where a server takes its requests: it is popped, at most once, or held,
// at least once. Of its methods take is for one goroutine, the others are for any.
type source interface {
	settler

	// start starts what runs beside.
	start()

	// take waits for requests, for blockTime at most, and takes up to n. A fatalError
	// ends the serving.
	take(n int) ([]delivery, error)

	// stop has nothing more taken or begun. It ends take's waits, until ended.
	stop(ended <-chan struct{})

	// begin reports whether a request may be started. It may wait until that is known.
	begin(d delivery) bool

	// giveBack gives back requests, oldest first, that were not begun. It reports
	// whether it has done so; if not, the next giveBack tries it for these, too.
	giveBack(requests []delivery) bool

	// leave ends it when nothing runs any more.
	leave() error
}

// A settler says how requests are settled: with their answers or without.
type settler interface {
	// byScript reports whether the script that pushes answers settles their requests.
	byScript() bool

	// settling returns that script. What it replies is for hold.Lost.
	settling(list string, pushes []push) hold.Command

	// claim settles the requests of answers where there is no such script. It reports
	// which had been taken over.
	claim(pushes []push) (lost map[int]bool, err error)

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
	dead    bool          // it was begun too often
}
