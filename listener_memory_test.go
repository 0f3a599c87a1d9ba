package jsonrpc2_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
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

// startClients starts a process that makes connections to the address, and returns when each
// has made a call. stop ends it.
func startClients(t *testing.T, address string, conns int) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", clientsVariable, address, conns))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, cmd.Wait())
	}
}

// Ten thousand connections that are idle after a call cost no more than 16 KiB of heap and
// stacks each, and their drain ends at once.
func TestListenerIdleConnections(t *testing.T) {
	conns := 10_000
	if raceEnabled {
		conns = 500
	}
	s := listen(t, "tcp", jsonrpc2.ListenerOptions{
		ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 4}, // so that some wait for a place before
	})
	before := inUse()
	stop := startClients(t, s.addr, conns)
	require.EqualValues(t, conns, s.conns.Snapshot().Open)
	each := (inUse() - before) / conns
	t.Logf("%d bytes for each of %d connections", each, conns)
	if !raceEnabled {
		require.LessOrEqual(t, each, 16<<10)
	}
	s.end(t)
	require.EqualValues(t, conns, s.calls.Snapshot().Answered)
	stop()
}
