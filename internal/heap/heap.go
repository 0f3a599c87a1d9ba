// Package heap measures memory in tests.
package heap

import "runtime"

// Live returns how many bytes are in use.
func Live() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
