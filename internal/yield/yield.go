// Package yield lets a writer send together what callers hand over one after the other.
package yield

import "runtime"

// WhileGrowing yields to callers that are about to hand something over, as long as some do:
// net/rpc hands over one message after the other, and a writer that did not yield would
// send each by itself. waiting returns how much waits.
func WhileGrowing(waiting func() int) {
	for range 16 {
		before := waiting()
		runtime.Gosched()
		runtime.Gosched() // for those who are woken meanwhile
		if waiting() == before {
			return
		}
	}
}
