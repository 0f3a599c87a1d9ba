package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// protocolVersion is the version in the greeting of a measuring process. It changes when the
// meaning of an order or a report does.
const protocolVersion = 1

// A greeting is the first line that a measuring process writes.
type greeting struct {
	Version int `json:"version"`
}

// An order is a line that a measuring process reads. It says to call a side for a while, or
// to leave it idle.
type order struct {
	Open string        `json:"open,omitempty"` // the side to open before; "": keep the open one
	For  time.Duration `json:"for"`            // in nanoseconds
	Idle bool          `json:"idle,omitempty"` // make no calls
}

// A report is the line that answers an order.
type report struct {
	Calls       int           `json:"calls"`
	Elapsed     time.Duration `json:"elapsed"`         // in nanoseconds
	Allocations uint64        `json:"allocations"`     // at both ends
	Conns       int           `json:"conns,omitempty"` // to the broker afterwards, if the side knows
	CPU         time.Duration `json:"cpu,omitempty"`   // processor time of the idle process
	Error       string        `json:"error,omitempty"`
}

func (r *report) add(more report) {
	r.Calls += more.Calls
	r.Elapsed += more.Elapsed
	r.Allocations += more.Allocations
	r.Conns = more.Conns
}

// perCall returns the seconds per call.
func (r report) perCall() float64 { return r.Elapsed.Seconds() / float64(r.Calls) }

func (r report) callsPerSecond() float64 { return 1 / r.perCall() }

func (r report) conns() float64 { return float64(r.Conns) }

func (r report) allocationsPerCall() float64 { return float64(r.Allocations) / float64(r.Calls) }

// measureOnOrder writes a greeting to out. It then carries out the orders from in, and writes a
// report for each, until in ends or ctx is done. It closes what it opened. in also ends when
// the parent does.
func measureOnOrder(ctx context.Context, in io.Reader, out io.Writer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	context.AfterFunc(ctx, func() { exitUnless(finished) })

	s := openSide{env: &environment{ctx: ctx}}
	defer s.close()
	reports := json.NewEncoder(out)
	if reports.Encode(greeting{protocolVersion}) != nil {
		return // nobody reads any more
	}
	orders := readOrders(ctx, in, cancel)
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-orders:
			if reports.Encode(s.carryOut(next)) != nil {
				return
			}
		}
	}
}

// exitUnless ends this process unless finished is closed within endTimeout. A private broker
// dies with the parent, and calls under way may then wait for it for ever.
func exitUnless(finished <-chan struct{}) {
	select {
	case <-finished:
	case <-time.After(endTimeout):
		os.Exit(1)
	}
}

// readOrders returns a channel with the orders from in. A goroutine reads them until in ends,
// and then calls ended.
func readOrders(ctx context.Context, in io.Reader, ended func()) <-chan order {
	orders := make(chan order)
	go func() {
		defer ended()
		lines := json.NewDecoder(in)
		for {
			var next order
			if err := lines.Decode(&next); err != nil {
				return
			}
			select {
			case orders <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	return orders
}

// An openSide is the side that a measuring process has open.
type openSide struct {
	env    *environment
	target *target // nil when no side is open
}

func (s *openSide) carryOut(next order) report {
	r, err := s.measure(next)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// measure opens a side if the order names one, and calls it or leaves it idle.
func (s *openSide) measure(next order) (r report, err error) {
	if next.Open != "" {
		if err := s.open(next.Open); err != nil {
			return r, err
		}
	}
	if s.target == nil {
		return r, errors.New("no side is open")
	}
	if next.Idle {
		return s.idle(next.For)
	}
	return s.call(next.For)
}

// idle measures the processor time that this process takes in d, without calls.
func (s *openSide) idle(d time.Duration) (r report, err error) {
	before, err := cpuTime()
	if err != nil {
		return r, err
	}
	pause(s.env.ctx, d)
	after, err := cpuTime()
	return report{Elapsed: d, CPU: after - before}, err
}

// call calls the side for a while. It collects garbage at the end: the collector must not run
// in the next turn, which is the other process's.
func (s *openSide) call(d time.Duration) (r report, err error) {
	defer runtime.GC()
	before := mallocs()
	turn, err := s.target.during(s.env.ctx, d)
	r = report{Calls: turn.calls, Elapsed: turn.elapsed, Allocations: mallocs() - before}
	if s.target.conns != nil {
		r.Conns = s.target.conns()
	}
	return r, err
}

// open closes the open side, and opens the side of ours with a name.
func (s *openSide) open(name string) error {
	s.close()
	ours, err := sideNamed(name)
	if err != nil {
		return err
	}
	s.target, err = open(s.env, ours)
	return err
}

// sideNamed returns the side of ours with a name. Its transport is one that rows measure. It
// may have any number of callers.
func sideNamed(name string) (side, error) {
	for _, ours := range ourSides() {
		var callers int
		_, _ = fmt.Sscanf(strings.TrimPrefix(name, ours.name), ", %d caller", &callers)
		if s := ours.with(callers); callers > 0 && s.String() == name {
			return s, nil
		}
	}
	return side{}, fmt.Errorf("there is no side %q", name)
}

func (s *openSide) close() {
	if s.target != nil {
		s.target.close()
		s.target = nil
	}
}
