package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startSelf starts the test binary as a measurer.
func startSelf(t *testing.T, play string) (*measurer, error) {
	return startMeasurer(t.Context(), os.Args[0], playVariable+"="+play)
}

func TestMeasurer(t *testing.T) {
	m, err := startSelf(t, "measurer")
	require.NoError(t, err)
	defer m.end()

	_, err = m.measure(order{For: time.Millisecond})
	require.EqualError(t, err, "no side is open")
	_, err = m.measure(order{Open: "pigeons, 2 callers", For: time.Millisecond})
	require.EqualError(t, err, `there is no side "pigeons, 2 callers"`)

	const d = 50 * time.Millisecond
	for _, o := range []order{{Open: "stream, 2 callers", For: d}, {For: d}, {Open: "HTTP, 2 callers", For: d}} {
		r, err := m.measure(o)
		require.NoError(t, err)
		require.Positive(t, r.Calls)
		require.Positive(t, r.Elapsed)
		require.Greater(t, r.Allocations, uint64(r.Calls))
	}
	r, err := m.measure(order{For: d, Idle: true})
	require.NoError(t, err)
	require.Equal(t, report{Elapsed: d, CPU: r.CPU}, r)
	m.end()
	require.True(t, m.cmd.ProcessState.Success(), "it ends by itself")
}

func TestProgramThatTakesNoOrders(t *testing.T) {
	_, err := startSelf(t, "old")
	require.EqualError(t, err, os.Args[0]+" does not measure on order as this program does")
}

// A measurer that does not end by itself is killed.
func TestDeafMeasurer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m, err := startMeasurer(ctx, os.Args[0], playVariable+"=deaf")
	require.NoError(t, err)
	m.cmd.WaitDelay = time.Millisecond
	cancel()
	_, err = m.measure(order{For: time.Hour})
	require.Error(t, err)
	m.end()
	require.False(t, m.cmd.ProcessState.Success())
}

// playDeaf greets, and does not end with its standard input.
func playDeaf() error {
	if err := json.NewEncoder(os.Stdout).Encode(greeting{protocolVersion}); err != nil {
		return err
	}
	select {}
}

// A measurer must not outlive a parent that is killed while it measures.
func TestMeasurerEndsWithItsParent(t *testing.T) {
	alive, held, err := os.Pipe()
	require.NoError(t, err)
	defer alive.Close()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), playVariable+"=parent")
	parent.Stderr = held // the measurer inherits it
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	require.NoError(t, held.Close())
	var pid int
	_, err = fmt.Fscanln(out, &pid)
	require.NoError(t, err)

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	printed, err := io.ReadAll(alive) // ends when neither process is left
	require.NoError(t, err)
	require.Empty(t, string(printed))
}

// playParent makes a measurer measure until this process is killed.
func playParent() error {
	m, err := startMeasurer(context.Background(), os.Args[0], playVariable+"=measurer")
	if err != nil {
		return err
	}
	for next := (order{Open: "stream, 2 callers", For: 10 * time.Millisecond}); ; next.Open = "" {
		if _, err := m.measure(next); err != nil {
			return err
		}
		if next.Open != "" {
			fmt.Println(m.cmd.Process.Pid)
		}
	}
}

// The end of the input closes the open side, also in the middle of an order.
func TestMeasureOnOrderUntilEnd(t *testing.T) {
	in, orders := io.Pipe()
	reports, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		measureOnOrder(t.Context(), in, out)
	}()
	var g greeting
	require.NoError(t, json.NewDecoder(reports).Decode(&g))
	require.Equal(t, protocolVersion, g.Version)
	go func() { _, _ = io.Copy(io.Discard, reports) }()
	require.NoError(t, json.NewEncoder(orders).Encode(order{Open: "stream, 2 callers", For: 20 * time.Millisecond}))
	require.NoError(t, orders.Close())
	<-done
	require.NoError(t, out.Close())
}

// The lines below are the protocol that another checkout's program understands: a change of
// them needs another protocolVersion.
func TestProtocol(t *testing.T) {
	var lines bytes.Buffer
	e := json.NewEncoder(&lines)
	require.NoError(t, e.Encode(greeting{Version: 1}))
	require.NoError(t, e.Encode(order{Open: "stream, 2 callers", For: time.Second}))
	require.NoError(t, e.Encode(order{For: time.Millisecond}))
	require.NoError(t, e.Encode(order{For: time.Millisecond, Idle: true}))
	require.NoError(t, e.Encode(report{Calls: 3, Elapsed: time.Second, Allocations: 4}))
	require.NoError(t, e.Encode(report{Conns: 5, CPU: 6}))
	require.NoError(t, e.Encode(report{Error: "no"}))
	require.Equal(t, `{"version":1}
{"open":"stream, 2 callers","for":1000000000}
{"for":1000000}
{"for":1000000,"idle":true}
{"calls":3,"elapsed":1000000000,"allocations":4}
{"calls":0,"elapsed":0,"allocations":0,"conns":5,"cpu":6}
{"calls":0,"elapsed":0,"allocations":0,"error":"no"}
`, lines.String())
}
