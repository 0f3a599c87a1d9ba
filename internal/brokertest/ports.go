package brokertest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// These ports are below the range from which systems choose the ports of outgoing connections.
// No such connection can thus take the port of a broker that is down.
const (
	firstPort = 20000
	lastPort  = 32000
)

// errPortTaken says that another program got hold of a port first.
var errPortTaken = errors.New("port already in use")

// issued holds the ports that freePort returned: it returns none twice. Each is reserved until
// the process ends: a broker that is down would else lose its port to a broker of another test
// binary.
var issued = struct {
	sync.Mutex
	ports map[int]net.PacketConn
}{ports: make(map[int]net.PacketConn)}

// FreePort returns a loopback port that nothing listens on. No outgoing connection takes it, and
// no other call of FreePort returns it, in this test binary or another.
func FreePort(t testing.TB) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

// freePort returns a loopback port that nothing listens on.
func freePort() (int, error) {
	issued.Lock()
	defer issued.Unlock()
	for range lastPort - firstPort {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if reservation, ok := reserve(port); ok {
			issued.ports[port] = reservation
			return port, nil
		}
	}
	return 0, fmt.Errorf("brokertest: no free port from %d to %d", firstPort, lastPort)
}

// reserve reserves a port, unless somebody has reserved it or listens on it. What reserves it is
// the UDP port of the same number, which no broker uses.
func reserve(port int) (net.PacketConn, bool) {
	reservation, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return nil, false
	}
	if !bindable(port) {
		_ = reservation.Close()
		return nil, false
	}
	return reservation, true
}

// bindable reports whether nothing listens on a port.
func bindable(port int) bool {
	ln, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	return ln.Close() == nil
}

// loopback returns the address of a port of this machine.
func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// withFreePorts calls start with n free ports. If start returns errPortTaken, because another
// program took one of them meanwhile, it tries again with other ports.
func withFreePorts(n int, start func(ports []int) error) error {
	const attempts = 5
	var err error
	for range attempts {
		ports := make([]int, n)
		for i := range ports {
			if ports[i], err = freePort(); err != nil {
				return err
			}
		}
		if err = start(ports); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}
