//go:build !linux

package jsonrpc2

import (
	"net"
	"time"
)

// limitUnacked does nothing: the system has a limit of its own.
func limitUnacked(*net.TCPConn, time.Duration) {}
