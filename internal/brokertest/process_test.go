package brokertest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asParent makes the test binary start a broker and wait to be killed.
const asParent = "BROKERTEST_PARENT"

func TestBrokerDiesWithTestBinary(t *testing.T) {
	if os.Getenv(asParent) != "" {
		fmt.Println("redis", StartRedis(t).Addr)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), asParent+"=1", "TMPDIR="+t.TempDir()) // what is killed removes nothing
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	children := descendants(cmd.Process.Pid)
	require.Len(t, children, 1)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		_, err := net.Dial("tcp", strings.TrimSpace(strings.TrimPrefix(line, "redis ")))
		return err != nil && !running(children[0])
	}, time.Minute, pollInterval)
}

func TestKillLeavesNoProcess(t *testing.T) {
	t.Parallel()
	r := StartRabbitMQ(t)
	children := descendants(r.node.proc.cmd.Process.Pid)
	require.NotEmpty(t, children, "RabbitMQ has helper processes")
	r.Kill()
	for _, pid := range children {
		require.False(t, running(pid))
	}
}

func TestProcessThatExits(t *testing.T) {
	log := t.TempDir() + "/log"
	p, err := startProcess(exec.Command("sh", "-c", "echo the reason; exit 3"), log)
	require.NoError(t, err)
	err = p.await(func() error { return os.ErrNotExist })
	require.ErrorContains(t, err, "sh ended: exit status 3\nthe reason")
	require.NotErrorIs(t, err, errPortTaken)
}

// A broker whose port another program took first is started again on another port.
func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	taken := ln.Addr().(*net.TCPAddr).Port

	r := &Redis{t: t, dir: t.TempDir()}
	attempts := 0
	require.NoError(t, withFreePorts(1, func(ports []int) error {
		if attempts++; attempts == 1 {
			ports[0] = taken
		}
		r.Addr = loopback(ports[0])
		require.NoError(t, r.configure(ports[0], ""))
		return r.start()
	}))
	r.Kill()
	require.Equal(t, 2, attempts)
}

// A port stays with the process that got it, also while nothing listens on it.
func TestPortIsReserved(t *testing.T) {
	port, err := freePort()
	require.NoError(t, err)
	_, ok := reserve(port) // as another process would
	require.False(t, ok)
	require.True(t, bindable(port))
}

func TestNothingInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := &Redis{t: t, dir: t.TempDir()}
	require.EqualError(t, r.start(), "brokertest: redis-server not found: apt-get install redis-server")
	_, err := startErlangHost(t.TempDir())
	require.EqualError(t, err, "brokertest: epmd not found: apt-get install rabbitmq-server")
}

func TestIgnoreProcesses(t *testing.T) {
	StartRedis(t)
	require.Error(t, goleak.Find())
	require.NoError(t, goleak.Find(IgnoreProcesses()))
}
