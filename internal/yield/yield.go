// Package yield has a writer send together what callers hand over one after the other.
package yield

import "runtime"

// WhileGrowing lets callers that are about to hand something over do so, as long as some
// do: net/rpc hands over one message after the other, and a writer that did not yield
// would send each alone. waiting returns how much waits.
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
