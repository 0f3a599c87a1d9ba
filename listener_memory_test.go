package jsonrpc2_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// clientsVariable has the test binary be the peers of a listener, at the address in it, in
// place of testing.
const clientsVariable = "JSONRPC2_TEST_CLIENTS"

// runClients makes connections, one call over each, and holds them until standard input ends.
func runClients(config string) error {
	var address string
	var conns int
	if _, err := fmt.Sscan(config, &address, &conns); err != nil {
		return err
	}
	failed := make(chan error, conns)
	var held sync.Map
	const at = 50 // dial at once, or the kernel drops some and has them wait for a second
	var dialing sync.WaitGroup
	for worker := range at {
		dialing.Go(func() {
			for n := worker; n < conns; n += at {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					failed <- err
					return
				}
				held.Store(n, conn)
				if err := callOnce(conn); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	dialing.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return err
	}
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func callOnce(conn net.Conn) error {
	if _, err := io.WriteString(conn, addOne+"\n"); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len(`{"jsonrpc":"2.0","id":1,"result":6.1}`+"\n")))
	return err
}

// inUse returns the bytes of heap and stacks that are in use when no garbage is left.
func inUse() int {
	runtime.GC()
	runtime.GC() // ends what the first has shrunk, and empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

// Ten thousand connections that are idle after a call cost no more than 16 KiB each.
func TestListenerIdleConnections(t *testing.T) {
	conns := 10_000
	stats := new(jsonrpc2.ListenerStats)
	s := listen(t, "tcp", jsonrpc2.ListenerOptions{ListenerStats: stats, ServerOptions: jsonrpc2.ServerOptions{Logger: servicetest.Quiet}})
	before := inUse()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", clientsVariable, s.addr, conns))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)

	require.EqualValues(t, conns, stats.Snapshot().Open)
	each := (inUse() - before) / conns
	t.Logf("%d bytes for each of %d connections", each, conns)
	if path := os.Getenv("HEAP"); path != "" {
		f, _ := os.Create(path)
		pprof.Lookup("heap").WriteTo(f, 0)
		f.Close()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		t.Logf("heap in use %d, alloc %d stacks %d", m.HeapInuse/uint64(conns), m.HeapAlloc/uint64(conns), m.StackInuse/uint64(conns))
	}
	require.Less(t, each, 16<<10)

	s.end(t)
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
}
