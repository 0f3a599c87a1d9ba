package jsonrpc2

import (
	"io"
	"net"
	"syscall"
	"unsafe"
)

// unacknowledged returns how many bytes the kernel still holds for the peer of a TCP
// connection, also of one below TLS; 0 where there is none.
func unacknowledged(rwc io.ReadWriteCloser) int {
	if outer, ok := rwc.(interface{ NetConn() net.Conn }); ok {
		rwc = outer.NetConn()
	}
	tcp, ok := rwc.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var n int32
	_ = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
		if errno != 0 {
			n = 0
		}
	})
	return int(n)
}
