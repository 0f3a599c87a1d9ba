//go:build !race

package jsonrpc2_test

// raceEnabled says that the race detector watches, which makes all slower and larger.
const raceEnabled = false
