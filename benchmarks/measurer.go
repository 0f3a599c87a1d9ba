package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// endTimeout is how long a process may take to end by itself.
const endTimeout = 10 * time.Second

// A measurer is a process of a benchmarks program that measures on order, see measureOnOrder.
type measurer struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	orders  *json.Encoder
	reports *json.Decoder
}

// startMeasurer starts a program with env added to its environment. The process ends when end
// is called, when ctx is done, or when this process ends.
func startMeasurer(ctx context.Context, program string, env ...string) (*measurer, error) {
	ctx, cancel := context.WithCancel(ctx)
	m := &measurer{cmd: exec.CommandContext(ctx, program, "-measure"), cancel: cancel}
	if err := m.start(env); err != nil {
		cancel()
		return nil, err
	}
	var g greeting
	if err := m.reports.Decode(&g); err != nil || g.Version != protocolVersion {
		m.end()
		return nil, fmt.Errorf("%s does not measure on order as this program does", program)
	}
	return m, nil
}

// start starts the process. The process ends when its standard input does. If it has not ended
// after endTimeout, it is killed.
func (m *measurer) start(env []string) error {
	in, err := m.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	m.cmd.Env = append(os.Environ(), env...)
	m.cmd.Stderr = os.Stderr
	m.cmd.Cancel = in.Close
	m.cmd.WaitDelay = endTimeout
	m.orders, m.reports = json.NewEncoder(in), json.NewDecoder(out)
	return m.cmd.Start()
}

// measure sends an order, and returns the report that answers it.
func (m *measurer) measure(o order) (r report, err error) {
	if err := m.orders.Encode(o); err != nil {
		return r, err
	}
	if err := m.reports.Decode(&r); err != nil {
		return r, fmt.Errorf("%s: no report: %w", m.cmd.Path, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// end ends the process and waits for it.
func (m *measurer) end() {
	m.cancel()
	_ = m.cmd.Wait() // the reports have had its errors
}
