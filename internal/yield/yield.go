// Package yield is for a writer that sends together what callers hand over one after the other.
package yield

import "runtime"

// WhileGrowing yields to callers that are about to hand something over, as long as some do,
// but 16 times at most. net/rpc hands over one message after the other, and a writer that did
// not yield would send each by itself. waiting returns how much waits.
func WhileGrowing(waiting func() int) {
	for range 16 {
		before := waiting()
		runtime.Gosched()
		runtime.Gosched() // for the goroutines that the first one woke
		if waiting() == before {
			return
		}
	}
}
