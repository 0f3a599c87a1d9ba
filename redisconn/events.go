package redisconn

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// events count and log what a hold.Worker finds. The Worker calls them on several goroutines.
type events struct {
	*shared
	now  func() time.Duration               // by the clock of the worker's world
	bury func(request string, attempts int) // hands a dead request to ReadRequest

	leaving atomic.Bool  // the server leaves: Failed and Gone need no log line any more
	heard   atomic.Int64 // by now: when a join or a beat last worked
}

// Failed implements hold.Events.
func (e *events) Failed(doing string, err error) {
	if !e.leaving.Load() {
		e.impaired(doing, err)
	}
}

// Worked implements hold.Events.
func (e *events) Worked(doing string) {
	if doing != "taking over" { // a join or a beat, which renew the lease
		e.heard.Store(int64(e.now()))
	}
	e.state.Worked(doing)
}

// Gone implements hold.Events.
func (e *events) Gone() {
	link.Signal(e.reconnects)
	if e.leaving.Load() {
		return
	}
	silent := e.now() - time.Duration(e.heard.Load())
	log := e.state.Logger.With(slog.Duration("lease", e.opts.Lease), slog.Duration("renewed_before", silent))
	// A beat was sent up to BeatTime before it was heard.
	if silent < e.opts.Lease-hold.BeatTime(e.opts.Lease) {
		log.Error("Redis does not know the lease, which had not run out: it lost data")
		return
	}
	log.Error("the lease was not renewed in time: other servers may run what this one had taken")
}

// TookOver implements hold.Events.
func (e *events) TookOver(requests int) {
	e.takenOver.Add(int64(requests))
	e.state.Logger.Warn("requests taken over from a server whose lease ran out", slog.Int("requests", requests))
}

// Orphaned implements hold.Events.
func (e *events) Orphaned(requests int) {
	e.takenOver.Add(int64(requests))
	e.state.Logger.Warn("requests whose answers may have been lost with a master run again", slog.Int("requests", requests))
}

// Died implements hold.Events.
func (e *events) Died(request string, attempts int) {
	e.dead.Add(1)
	e.state.Logger.Error("request is dead: each server's lease ran out while it ran", slog.Int("attempts", attempts))
	e.bury(request, attempts)
}

// Dropped implements hold.Events.
func (e *events) Dropped(dead int) {
	e.deadDropped.Add(int64(dead))
	e.state.Logger.Error("the oldest dead requests dropped: there are too many", slog.Int("requests", dead), slog.Int("limit", e.opts.MaxDead))
}
