package conntest

import "runtime"

// LiveHeap returns how many bytes are in use.
func LiveHeap() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
