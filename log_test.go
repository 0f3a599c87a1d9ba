package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// A recorder is a slog.Handler that keeps what is logged.
type recorder struct {
	mu      sync.Mutex
	records []slog.Record
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	return nil
}

// take returns the lines since the last take.
func (r *recorder) take() (lines []line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		l := line{Message: rec.Message, level: rec.Level, attrs: map[string]string{}}
		rec.Attrs(func(a slog.Attr) bool {
			l.attrs[a.Key] = a.Value.String()
			return true
		})
		lines = append(lines, l)
	}
	r.records = nil
	return lines
}

type line struct {
	Message string
	attrs   map[string]string
	level   slog.Level
}

// What no peer learns of is logged, each in a line.
func TestServerLogs(t *testing.T) {
	for body, want := range map[string]line{
		`nonsense`: {"jsonrpc2: message refused", map[string]string{"message": "nonsense", "bytes": "8", "error": "not valid JSON: at byte 0"}, slog.LevelWarn},
		`[]`:       {"jsonrpc2: message refused", map[string]string{"message": "[]"}, slog.LevelWarn},
		`{"jsonrpc":"1.0","id":1,"method":"Calc.Add"}`:         {`jsonrpc2: invalid request: member "jsonrpc" must be "2.0"`, map[string]string{"message": `{"jsonrpc":"1.0","id":1,"method":"Calc.Add"}`}, slog.LevelWarn},
		`{"jsonrpc":"2.0","id":1,"result":{"a":1}}`:            {"jsonrpc2: response in place of a request dropped", map[string]string{"message": `{"jsonrpc":"2.0","id":1,"result":{"a":1}}`}, slog.LevelWarn},
		`{"jsonrpc":"2.0","method":"Odd.Fail"}`:                {"jsonrpc2: notification failed", map[string]string{"method": "Odd.Fail", "error": `no such account (JSON-RPC error 404, data {"account":7})`}, slog.LevelWarn},
		`{"jsonrpc":"2.0","method":"Gone.Gone"}`:               {"jsonrpc2: notification failed", map[string]string{"method": "Gone.Gone"}, slog.LevelWarn},
		`{"jsonrpc":"2.0","method":"Calc.Add","params":["x"]}`: {"jsonrpc2: notification failed", map[string]string{"method": "Calc.Add"}, slog.LevelWarn},
		`{"jsonrpc":"2.0","id":1,"method":"Odd.NaN"}`:          {"jsonrpc2: response can't be sent", map[string]string{"method": "Odd.NaN", "error": "json: unsupported value: NaN"}, slog.LevelWarn},
		`{"jsonrpc":"2.0","id":1,"method":"Odd.Fail"}`:         {},
		`{"jsonrpc":"2.0","method":"Calc.Add"}`:                {},
	} {
		synctest.Test(t, func(t *testing.T) {
			record := new(recorder)
			s := newService(t, jsonrpc2.ServerOptions{Logger: slog.New(record)})
			require.True(t, s.offer(body))
			s.drain()
			require.NoError(t, <-s.done)
			lines := record.take()
			if want.Message == "" {
				require.Empty(t, lines)
				return
			}
			require.Len(t, lines, 1)
			require.Equal(t, want.Message, lines[0].Message)
			for key, value := range want.attrs {
				require.Equal(t, value, lines[0].attrs[key])
			}
		})
	}
}

// A flood of broken messages is a line a second, with their number.
func TestLogIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := new(recorder)
		s := newService(t, jsonrpc2.ServerOptions{Logger: slog.New(record)})
		for range 100 {
			require.True(t, s.offer("nonsense"))
		}
		require.Len(t, record.take(), 1)
		time.Sleep(time.Second)
		for range 10 {
			require.True(t, s.offer("nonsense"))
		}
		lines := record.take()
		require.Len(t, lines, 1)
		require.Equal(t, "99", lines[0].attrs["unlogged_before"])
		s.drain()
		require.NoError(t, <-s.done)
		lines = record.take()
		require.Len(t, lines, 1, "and the rest at the end")
		require.Equal(t, "9", lines[0].attrs["unlogged_before"])
		require.EqualValues(t, 110, s.stats.Snapshot().Invalid)
	})
}

// No line has more than 200 bytes of anything that a stranger chose.
func TestLogQuotesLittle(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for _, body := range []string{
		long,
		`{"jsonrpc":"2.0","method":"` + long + `"}`,
		`{"jsonrpc":"2.0","method":"Calc.` + long + `"}`,
		`{"jsonrpc":"1.0","method":"` + long + `"}`,
		`{"jsonrpc":"2.0","` + long + `":1,"id":["` + long + `"]}`,
		`{"jsonrpc":"2.0","id":1,"result":"` + long + `"}`,
		`{"jsonrpc":"2.0","method":"Odd.FailWith","params":["` + long + `"]}`,
		`{"jsonrpc":"2.0","method":"Long.Fail","params":[10000]}`,
		`{"jsonrpc":"2.0","method":"Odd.Pair","params":[1` + strings.Repeat("0", 10_000) + `]}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			record := new(recorder)
			s := newService(t, jsonrpc2.ServerOptions{Logger: slog.New(record)})
			require.True(t, s.offer(body))
			s.drain()
			require.NoError(t, <-s.done)
			lines := record.take()
			require.Len(t, lines, 1)
			for key, value := range lines[0].attrs {
				require.LessOrEqual(t, len(value), 200, key)
			}
			require.LessOrEqual(t, len(lines[0].Message), 200)
		})
	}
}

func TestLostReplyIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := new(recorder)
		s := newService(t, jsonrpc2.ServerOptions{Logger: slog.New(record)})
		msg := s.message(`{"jsonrpc":"2.0","id":1,"method":"Calc.Add"}`)
		msg.Reply = func([]byte) error { return fmt.Errorf("the queue is gone") }
		s.conn.messages <- msg
		s.drain()
		require.NoError(t, <-s.done)
		lines := record.take()
		require.Len(t, lines, 1)
		require.Equal(t, "jsonrpc2: reply lost", lines[0].Message)
		require.Equal(t, "the queue is gone", lines[0].attrs["error"])
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":0}`, lines[0].attrs["message"])
	})
}

func TestClientLogs(t *testing.T) {
	for reply, want := range map[string]line{
		`nonsense`:                        {"jsonrpc2: broken reply dropped", map[string]string{"message": "nonsense"}, slog.LevelWarn},
		`{"id":"late","result":1}`:        {"jsonrpc2: reply that nobody waits for dropped", map[string]string{"message": `{"id":"late","result":1}`}, slog.LevelWarn},
		`{"id":1,"method":"x"}`:           {"jsonrpc2: reply that is no response dropped", map[string]string{"message": `{"id":1,"method":"x"}`}, slog.LevelWarn},
		`5`:                               {"jsonrpc2: reply that is no response dropped", nil, slog.LevelWarn},
		strings.Repeat("[", 2000):         {"jsonrpc2: message dropped", nil, slog.LevelWarn},
		`"` + strings.Repeat("x", 30_000): {"jsonrpc2: message dropped", map[string]string{"message": `"` + strings.Repeat("x", 199)}, slog.LevelWarn},
	} {
		synctest.Test(t, func(t *testing.T) {
			record := new(recorder)
			conn := newScriptedClient()
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: slog.New(record), MaxMessageSize: 20_000})
			t.Cleanup(func() { _ = client.Close() })
			conn.answer(reply)
			synctest.Wait()
			lines := record.take()
			require.Len(t, lines, 1)
			require.Equal(t, want.Message, lines[0].Message)
			for key, value := range want.attrs {
				require.Equal(t, value, lines[0].attrs[key])
			}
		})
	}
}

// An answer that comes when its call has ended, or once more, is no warning: each
// call that times out may have one.
func TestLateReplyIsNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := new(recorder)
		p := newPeer(t, jsonrpc2.ClientOptions{Logger: slog.New(record)})
		require.ErrorIs(t, callTest(t.Context(), p.client), jsonrpc2.ErrTimeout)
		timedOut := <-p.requests
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, callTest(ctx, p.client), jsonrpc2.ErrTimeout)
		given := <-p.requests
		for _, r := range []request{timedOut, given, given} {
			p.answer(t, r, "7")
		}
		synctest.Wait()
		lines := record.take()
		require.Len(t, lines, 3)
		for _, l := range lines {
			require.Equal(t, "jsonrpc2: late or repeated reply dropped", l.Message)
			require.Equal(t, slog.LevelDebug, l.level)
		}

		p.send(t, given, `{"jsonrpc":"2.0","id":"-ID0","result":7}`) // of no call that there was
		synctest.Wait()
		lines = record.take()
		require.Len(t, lines, 1)
		require.Equal(t, "jsonrpc2: reply that nobody waits for dropped", lines[0].Message)
		require.Equal(t, slog.LevelWarn, lines[0].level)
	})
}

// slog.Default is the Logger where there is none.
func TestDefaultLogger(t *testing.T) {
	logger, output, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() { // SetDefault redirects package log, too
		slog.SetDefault(logger)
		log.SetOutput(output)
		log.SetFlags(flags)
	}()
	record := new(recorder)
	slog.SetDefault(slog.New(record))
	conn := newScriptedServer()
	go func() {
		conn.messages <- jsonrpc2.Delivery{Body: json.RawMessage("nonsense"), Reply: func([]byte) error { return nil }}
		close(conn.messages)
	}()
	require.NoError(t, jsonrpc2.Serve(t.Context(), newServer(t), conn, nil))
	require.Len(t, record.take(), 1)
}
