package jsonrpc2

import (
	"io"
	"net"
	"time"
)

// A dead peer is found by these, after unackedTimeout at most.
const (
	keepAliveIdle     = 15 * time.Second // without traffic, before the first probe
	keepAliveInterval = 5 * time.Second  // between two probes
	keepAliveCount    = 3                // probes without an answer
	unackedTimeout    = keepAliveIdle + keepAliveCount*keepAliveInterval
)

// keepAlive makes a TCP connection, also one below TLS, end when its peer is dead.
func keepAlive(rwc io.ReadWriteCloser) {
	if outer, ok := rwc.(interface{ NetConn() net.Conn }); ok {
		rwc = outer.NetConn()
	}
	conn, ok := rwc.(*net.TCPConn)
	if !ok {
		return
	}
	_ = conn.SetKeepAliveConfig(net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
	})
	limitUnacked(conn, unackedTimeout)
}
