package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNATSServerInUse(t *testing.T) {
	server := startNATS(t)
	t.Setenv("NATS_URL", server)
	env := &environment{ctx: t.Context()}
	url, err := env.natsURL()
	require.NoError(t, err)
	require.Equal(t, server, url)
	require.Empty(t, env.harness.cleanups, "it starts none")
}

func TestNoNATSServer(t *testing.T) {
	t.Chdir(t.TempDir())
	var b brokers
	defer b.close()
	_, err := b.natsURL()
	require.ErrorContains(t, err, "set NATS_URL")
}

// A NATS server must not outlive a parent that is killed.
func TestNATSServerEndsWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), playVariable+"=nats", "TMPDIR="+t.TempDir()) // which it leaves behind
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var url string
	_, err = fmt.Fscanln(out, &url)
	require.NoError(t, err)
	addr := strings.TrimPrefix(url, "nats://")
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, time.Minute, 10*time.Millisecond)
}

// playNATS starts a NATS server and waits to be killed.
func playNATS() error {
	var b brokers
	url, err := b.natsURL()
	if err != nil {
		return err
	}
	fmt.Println(url)
	select {}
}
