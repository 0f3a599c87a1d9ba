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

// Ports are taken from below the range out of which systems serve outgoing
// connections, so that none of those takes a broker's port while it is down.
const (
	firstPort = 20000
	lastPort  = 32000
)

// errPortTaken says that another program got hold of a port first.
var errPortTaken = errors.New("port already in use")

// issued holds the ports given out, none of which is given out twice.
var issued = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreePort returns a loopback port that nothing listens on, and that no outgoing
// connection takes either.
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
		if !issued.ports[port] && bindable(port) {
			issued.ports[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("brokertest: no free port from %d to %d", firstPort, lastPort)
}

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

// withFreePorts calls start with n free ports, and with others when one of
// them was taken before the broker could bind it.
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
