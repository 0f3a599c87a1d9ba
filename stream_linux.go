package jsonrpc2

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// backlogOf returns what the kernel holds of what was written to a socket, also of
// one below TLS. Of TCP that is what the peer has not acknowledged, of a Unix socket
// what it has not read, which is not lost when the socket is closed.
func backlogOf(rwc io.ReadWriteCloser) (held backlog) {
	if outer, ok := rwc.(interface{ NetConn() net.Conn }); ok {
		rwc = outer.NetConn()
	}
	switch rwc.(type) {
	case *net.TCPConn:
		held.lostOnClose = true
	case *net.UnixConn:
	default:
		return held
	}
	raw, err := rwc.(syscall.Conn).SyscallConn()
	if err != nil {
		return held
	}
	_ = raw.Control(func(fd uintptr) {
		var n int32
		_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
		if failed == 0 {
			held.bytes = int(n)
		}
		broken, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		if err == nil && broken != 0 {
			held.err = os.NewSyscallError("write", syscall.Errno(broken))
		}
	})
	return held
}
