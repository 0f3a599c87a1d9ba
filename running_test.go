package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A heldUp is a server of two places whose calls run until they are let go, in a
// synctest bubble.
type heldUp struct {
	conn   *scriptedServer
	server *servicetest.Server
	slow   *servicetest.Slow
	stats  *jsonrpc2.ServerStats
	log    *recorder
}

func newHeldUp(t *testing.T) heldUp {
	h := heldUp{newScriptedServer(), nil, servicetest.NewSlow(), new(jsonrpc2.ServerStats), new(recorder)}
	h.server = servicetest.Serve(t, h.conn, jsonrpc2.ServerOptions{
		MaxInFlight: 2, Grace: 5 * time.Second, Logger: slog.New(h.log), Stats: h.stats,
	}, h.slow)
	t.Cleanup(h.slow.Open)
	return h
}

// call offers a call to the server. It waits for a place if none is free.
func (h heldUp) call(method string) {
	go func() {
		h.conn.messages <- jsonrpc2.Delivery{
			Body:  fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":%q,"params":[1]}`, method),
			Reply: func([]byte) error { return nil },
		}
	}()
	synctest.Wait()
}

// after lets time pass, and returns what was logged meanwhile.
func (h heldUp) after(d time.Duration) []line {
	time.Sleep(d)
	synctest.Wait()
	return h.log.take()
}

// Calls that take all places and do not end are named once, and so is their end.
func TestHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldUp(t)
		h.call("Slow.Wait")
		require.Empty(t, h.after(time.Hour+time.Second/2), "there is a place")
		h.call("Slow.Wait")
		h.call("Slow.Wait") // waits for a place
		require.Empty(t, h.after(9*time.Second))
		require.Equal(t, []line{{
			"jsonrpc2: all places are taken, and no call has ended for 10s",
			map[string]string{"calls": "2", "running": "Slow.Wait 2 for 1h0m9s"}, slog.LevelWarn,
		}}, h.after(time.Second))
		require.Empty(t, h.after(time.Hour))

		h.slow.Gate <- struct{}{}
		over := []line{{"jsonrpc2: calls end again", map[string]string{}, slog.LevelInfo}}
		require.Equal(t, over, h.after(time.Second))
		require.Len(t, h.after(12*time.Second), 1, "the other two take both places")
		h.slow.Open()
		require.Equal(t, over, h.after(2*time.Second))
	})
}

// Calls that end do not hold a server up, however long they take, and nor does a time
// without calls.
func TestNotHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldUp(t)
		for range 20 {
			h.call("Slow.Wait")
		}
		for range 20 {
			require.Empty(t, h.after(9*time.Second))
			h.slow.Gate <- struct{}{}
		}
		require.Empty(t, h.after(time.Hour))
		h.call("Slow.Wait")
		h.call("Slow.Wait")
		require.Empty(t, h.after(9*time.Second))
	})
}

// A drain that goes on after Grace says again and again what it waits for.
func TestDrainSaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldUp(t)
		h.call("Slow.Wait")
		h.call("Calc.Add") // is over
		h.log.take()
		h.server.Drain()
		require.Empty(t, h.after(5*time.Second))
		for _, s := range []string{"5s", "15s", "25s"} {
			require.Equal(t, []line{{
				"jsonrpc2: a drain waits for calls that go on after Grace",
				map[string]string{"calls": "1", "running": "Slow.Wait 1 for " + s}, slog.LevelWarn,
			}}, h.after(time.Second))
			require.Empty(t, h.after(9*time.Second))
		}
		h.slow.Open()
		<-h.server.Done
		require.Empty(t, h.after(time.Minute))
	})
}

func TestRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHeldUp(t)
		began := time.Now()
		require.Empty(t, h.stats.Running())
		h.call("Slow.Wait")
		time.Sleep(time.Minute)
		h.call("Slow.Wait")
		running := h.stats.Running()
		require.Equal(t, []jsonrpc2.Running{{Method: "Slow.Wait", Calls: 2, Since: began.Add(time.Second)}}, running)
		text, err := json.Marshal(running)
		require.NoError(t, err)
		require.JSONEq(t, `[{"method":"Slow.Wait","calls":2,"since":"2000-01-01T00:00:01Z"}]`, string(text))

		h.server.Drain()
		h.slow.Open()
		<-h.server.Done
		require.Empty(t, h.stats.Running())
	})
}

// A slowLog writes as slowly as a full disk.
type slowLog struct {
	slog.Handler
	mu    sync.Mutex
	lines []string
}

func (l *slowLog) Handle(_ context.Context, r slog.Record) error {
	time.Sleep(time.Second / 2)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, r.Message)
	return nil
}

// Nothing is logged once Serve has returned, and each stall that was logged has its end.
func TestHeldUpLogsBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, slow := newScriptedServer(), servicetest.NewSlow()
		log := &slowLog{Handler: slog.NewTextHandler(io.Discard, nil)}
		s := servicetest.Serve(t, conn, jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: slog.New(log)}, slow)
		conn.messages <- jsonrpc2.Delivery{Body: []byte(pass(1)), Reply: func([]byte) error { return nil }}
		time.Sleep(11*time.Second + time.Millisecond) // a look logs
		slow.Open()
		s.End(t)
		log.mu.Lock()
		defer log.mu.Unlock()
		require.Equal(t, []string{
			"jsonrpc2: all places are taken, and no call has ended for 10s", "jsonrpc2: calls end again",
		}, log.lines)
	})
}

// A drain that has begun before the codec was made met fields that were not set yet.
func TestDrainedBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		codec := jsonrpc2.NewServerCodec(ctx, newScriptedServer(), &jsonrpc2.ServerOptions{Grace: -1, Logger: servicetest.Quiet})
		time.Sleep(2 * time.Second)
		require.NoError(t, codec.Close())
	})
}
