package hold

import (
	"strings"
	"time"
)

// An Answer is pushed when its request is settled.
type Answer struct {
	Request *Request // nil: it settles none
	Body    []byte
}

// SettleCommand returns the command that pushes answers to a list and settles their requests,
// all of one generation. It does not push an answer whose request is not held any more. NotHeld
// reads its reply. ttl is how long the list lasts after that.
func (w *Worker) SettleCommand(list string, ttl time.Duration, answers []Answer) Command {
	args := append(make([]any, 0, 2*len(answers)+3), ttl.Milliseconds(), len(answers), 0)
	gen := ""
	for _, a := range answers {
		args = append(args, a.Body)
	}
	for _, a := range answers {
		if a.Request == nil {
			args = append(args, "")
			continue
		}
		gen = a.Request.gen
		args = append(args, a.Request.field)
		if strings.HasPrefix(a.Request.field, "s") { // a suspect
			args[2] = 1
		}
	}
	return Command{Script: settle, Keys: []string{list, w.opts.Keys.held(gen)}, Args: args}
}

// ClaimCommand returns the command that settles requests of one generation whose answers go
// to another slot. NotHeld reads its reply. When the answers are pushed, DropArgs removes what
// the claim has left.
func (w *Worker) ClaimCommand(requests []*Request) Command {
	args := make([]any, len(requests))
	for i, r := range requests {
		args[i] = r.field
	}
	return Command{Script: claim, Keys: []string{w.opts.Keys.held(requests[0].gen)}, Args: args}
}

// Gen returns the generation that holds the request. One command can settle only requests of one
// generation, since they are in its hash.
func (r *Request) Gen() string { return r.gen }

// DropArgs returns a command, an HDEL, that settles requests of one generation without an answer,
// or removes what a claim has left.
func (w *Worker) DropArgs(requests []*Request) []any {
	args := append(make([]any, 0, 3*len(requests)+2), "hdel", w.opts.Keys.held(requests[0].gen))
	for _, r := range requests {
		args = append(args, r.field, "n"+r.field, "c"+r.field)
	}
	return args
}

// Settled notes that requests are settled, or are not held any more. The server calls it for each
// request that it does not release.
func (w *Worker) Settled(requests ...*Request) { w.forget(requests...) }

// NotHeld reads the reply of a SettleCommand or a ClaimCommand: numbers from 1 on of the requests
// that were not held, and 0 if the list of the answers expires now. It returns their indexes, and
// reports whether the list expires.
func NotHeld(reply any) (notHeld map[int]bool, expires bool) {
	values, _ := reply.([]any)
	for _, v := range values {
		n := int(number(v))
		if n == 0 {
			expires = true
			continue
		}
		if notHeld == nil {
			notHeld = make(map[int]bool)
		}
		notHeld[n-1] = true
	}
	return notHeld, expires
}
