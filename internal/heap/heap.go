// Package heap measures memory in tests.
package heap

import "runtime"

// Live collects garbage, and returns how many bytes of the heap are in use after that.
func Live() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
