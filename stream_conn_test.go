package jsonrpc2_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/internal/heap"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestStreamConn(t *testing.T) {
	pipes := func(tb testing.TB) (_, _ io.ReadWriteCloser) { return pipePair(tb) }
	tcp := func(tb testing.TB) (_, _ io.ReadWriteCloser) { return tcpPair(tb) }
	unix := func(tb testing.TB) (_, _ io.ReadWriteCloser) { return unixPair(tb) }
	for name, test := range map[string]struct {
		connect func(testing.TB) (there, here io.ReadWriteCloser)
		serving func(io.ReadWriteCloser) *jsonrpc2.StreamConn
	}{
		"pipe":          {pipes, jsonrpc2.NewStreamConn},
		"tcp":           {tcp, jsonrpc2.NewStreamConn},
		"unix":          {unix, jsonrpc2.NewStreamConn},
		"stdio":         {stdioPair, jsonrpc2.NewStreamConn},
		"listener/pipe": {pipes, jsonrpc2.NewHostedStreamConn},
		"listener/tcp":  {tcp, jsonrpc2.NewHostedStreamConn},
		"listener/unix": {unix, jsonrpc2.NewHostedStreamConn},
	} {
		t.Run(name, func(t *testing.T) {
			conntest.Run(t, func(t *testing.T) conntest.Transport {
				dialed := make(chan io.ReadWriteCloser, 10)
				return conntest.Transport{
					Dial: func(t testing.TB) jsonrpc2.ClientConn {
						there, here := test.connect(t)
						dialed <- there
						return jsonrpc2.NewStreamConn(here)
					},
					Listen: func(testing.TB) jsonrpc2.ServerConn { return test.serving(<-dialed) },
				}
			})
		})
	}
}

func TestDialStreamConn(t *testing.T) {
	conntest.Run(t, func(t *testing.T) conntest.Transport {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return conntest.Transport{
			Dial:   func(testing.TB) jsonrpc2.ClientConn { return jsonrpc2.DialStream(dialTCP(l.Addr().String()), nil) },
			Listen: func(testing.TB) jsonrpc2.ServerConn { return jsonrpc2.NewStreamConn(newAccepted(l)) },
		}
	})
}

// shortTempDir returns a directory for sockets: tb.TempDir's names are too long for them.
func shortTempDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("", "jsonrpc2")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func unixPair(tb testing.TB) (there, here net.Conn) {
	l, err := net.Listen("unix", filepath.Join(shortTempDir(tb), "s"))
	require.NoError(tb, err)
	defer l.Close()
	here, err = net.Dial("unix", l.Addr().String())
	require.NoError(tb, err)
	there, err = l.Accept()
	require.NoError(tb, err)
	return there, here
}

// stdio is a stream without deadlines.
type stdio struct {
	io.Reader
	io.Writer
	close func() error
}

func (s stdio) Close() error { return s.close() }

func stdioPair(testing.TB) (there, here io.ReadWriteCloser) {
	fromThere, toHere := io.Pipe()
	fromHere, toThere := io.Pipe()
	there = stdio{fromHere, toHere, func() error { return errors.Join(fromHere.Close(), toHere.Close()) }}
	here = stdio{fromThere, toThere, func() error { return errors.Join(fromThere.Close(), toThere.Close()) }}
	return there, here
}

const addOne = `{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[1,5.1]}`

// serveText serves what r holds to its end, and returns the answers.
func serveText(t *testing.T, r io.Reader, opts *jsonrpc2.ServerOptions) []string {
	t.Helper()
	var out strings.Builder
	conn := jsonrpc2.NewStreamConn(stdio{r, &out, func() error { return nil }})
	if opts == nil {
		opts = &jsonrpc2.ServerOptions{Logger: servicetest.Quiet}
	}
	require.NoError(t, jsonrpc2.Serve(t.Context(), newServer(t), conn, opts))
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// A stream may end with its last bytes, or a read later.
func TestStreamEndsWithData(t *testing.T) {
	text := addOne + "\n" + addOne + addOne + `{"jsonrpc":`
	for name, r := range map[string]io.Reader{
		"one read":    iotest.DataErrReader(strings.NewReader(text)),
		"end apart":   strings.NewReader(text),
		"single byte": iotest.OneByteReader(strings.NewReader(text)),
		"halves":      iotest.DataErrReader(iotest.HalfReader(strings.NewReader(text))),
	} {
		t.Run(name, func(t *testing.T) {
			answers := serveText(t, r, nil)
			require.Len(t, answers, 4)
			counts := map[string]int{}
			for _, answer := range answers {
				counts[answer]++
			}
			require.Equal(t, 3, counts[`{"jsonrpc":"2.0","id":1,"result":6.1}`], "%s", answers)
		})
	}
}

// The end of the stream breaks off a text. The whole requests in the lines behind the break
// are served.
func TestStreamEndsBehindBrokenText(t *testing.T) {
	for name, text := range map[string]string{
		"in an array":      "[\n" + addOne,
		"in params":        `{"jsonrpc":"2.0","id":9,"method":"Calc.Add","params":` + "\n" + addOne + "\n\n",
		"in a batch":       "[" + addOne + ",\n" + addOne,
		"with half an end": "[1,\n" + addOne + "\n\xef\xbb",
	} {
		t.Run(name, func(t *testing.T) {
			answers := serveText(t, strings.NewReader(text), nil)
			require.Contains(t, answers, `{"jsonrpc":"2.0","id":1,"result":6.1}`)
			require.Contains(t, answers[0]+answers[1], `"id":null,"error":{"code":-32700,`)
			want := 2
			if name == "with half an end" {
				want = 3
			}
			require.Len(t, answers, want)
		})
	}
}

// Bytes that are no text, which no transcript can hold, break a message and not the stream.
func TestStreamBrokenBytes(t *testing.T) {
	for name, broken := range map[string]string{
		"invalid UTF-8":          `{"jsonrpc":"2.0","id":"` + "\xff" + `","method":"Calc.Add"}`,
		"half a rune":            `{"jsonrpc":"2.0","id":"` + "\xc3" + `"}`,
		"surrogate in UTF-8":     `{"jsonrpc":"2.0","id":"` + "\xed\xa0\x80" + `"}`,
		"control character":      "{\"jsonrpc\":\"2.0\",\"id\":\"\x01\"}",
		"NUL":                    "\x00",
		"NUL inside":             "{\x00}",
		"NUL behind":             "5\x00",
		"byte order mark inside": "{\ufeff}",
		"no-break space inside":  "{\u00a0}",
		"carriage return alone":  "nonsense\r" + addOne,
	} {
		t.Run(name, func(t *testing.T) {
			answers := serveText(t, strings.NewReader(broken+"\r\n"+addOne+"\r\n"), nil)
			require.Len(t, answers, 2, "%s", answers)
			joined := strings.Join(answers, "\n")
			require.Contains(t, joined, `"id":null,"error":{"code":-32700,`)
			require.Contains(t, joined, `{"jsonrpc":"2.0","id":1,"result":6.1}`)
		})
	}
}

// A byte order mark before a text says nothing (RFC 8259, section 8.1).
func TestStreamByteOrderMark(t *testing.T) {
	const mark = "\ufeff"
	answer := `{"jsonrpc":"2.0","id":1,"result":6.1}`
	for name, r := range map[string]io.Reader{
		"one read":    strings.NewReader(mark + addOne + "\n" + mark + " " + mark + addOne),
		"single byte": iotest.OneByteReader(strings.NewReader(mark + addOne + mark + addOne)),
	} {
		require.Equal(t, []string{answer, answer}, serveText(t, r, nil), name)
	}

	p := newPeer(t, jsonrpc2.ClientOptions{})
	call := p.client.Go("Test.Call", nil, new(int), nil)
	p.send(t, <-p.requests, mark+`{"jsonrpc":"2.0","id":ID,"result":7}`)
	require.NoError(t, (<-call.Done).Error)
	require.Equal(t, 7, *call.Reply.(*int))
}

// A text over the limit is neither kept nor the end of the session, wherever it
// is cut into reads.
func TestStreamSkipsTooLong(t *testing.T) {
	const limit = 1000
	long := `{"jsonrpc":"2.0","id":7,"method":"Odd.Text","params":["` + strings.Repeat(`\"`, 10_000) + `"]}`
	for name, text := range map[string]string{
		"one text":          long,
		"pretty-printed":    strings.ReplaceAll(long, ",", ",\n"),
		"broken in the end": long + "]",
		"broken off":        long[:len(long)-1] + "\n" + addOne,
	} {
		for _, oneByte := range []bool{false, true} {
			r := io.Reader(strings.NewReader(text + "\n" + addOne))
			if oneByte {
				r = iotest.OneByteReader(r)
			}
			answers := serveText(t, r, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet, MaxMessageSize: limit})
			joined := strings.Join(answers, "\n")
			require.Contains(t, joined, `"message":"message exceeds the limit of 1000 bytes"`, name)
			require.Contains(t, joined, `{"jsonrpc":"2.0","id":1,"result":6.1}`, name)
		}
	}
}

// Nobody can make a stream hold on to memory by opening brackets for ever.
func TestStreamEndlessBrackets(t *testing.T) {
	endless := io.MultiReader(
		io.LimitReader(repeated('['), 64<<20),
		strings.NewReader("\n"+addOne))
	before := heap.Live()
	answers := serveText(t, endless, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet, MaxMessageSize: 1 << 20})
	require.Less(t, heap.Live()-before, 32<<20)
	require.Contains(t, strings.Join(answers, "\n"), `{"jsonrpc":"2.0","id":1,"result":6.1}`)
}

type repeated byte

func (r repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// Answers that nobody reads stop the reading, but neither the calls that run nor
// the end.
func TestStreamSlowReaderOfAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, here := net.Pipe()
		defer here.Close()
		ctx, drain := context.WithCancel(t.Context())
		done := make(chan error, 1)
		stats := new(jsonrpc2.ServerStats)
		go func() {
			done <- jsonrpc2.Serve(ctx, newServer(t), jsonrpc2.NewStreamConn(there),
				&jsonrpc2.ServerOptions{Logger: servicetest.Quiet, Stats: stats, MaxInFlight: 4})
		}()
		const all = 100
		written := make(chan bool)
		go func() {
			defer close(written)
			for range all {
				_, err := io.WriteString(here, `{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[100000]}`+"\n")
				assert.NoError(t, err)
			}
		}()
		synctest.Wait()
		taken := stats.Snapshot().Calls
		require.Greater(t, taken, int64(10), "answers of 1 MiB may wait")
		require.Less(t, taken, int64(20), "and no more than those of the calls that run then")

		answers := bufio.NewReader(here)
		for range all {
			line, err := answers.ReadString('\n')
			require.NoError(t, err)
			require.Len(t, line, 100_000+len(`{"jsonrpc":"2.0","id":1,"result":""}`+"\n"))
		}
		<-written
		drain()
		require.NoError(t, <-done)
	})
}

func TestStreamDrainWhileAnswersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, here := net.Pipe()
		defer here.Close()
		ctx, drain := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- jsonrpc2.Serve(ctx, newServer(t), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
		}()
		_, err := io.WriteString(here, `{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[2000000]}`+"\n")
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		drain()
		require.ErrorContains(t, <-done, "bytes unsent: the peer took nothing more for 2s")
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}

// A peer that has no more to say may still read, however slowly: it gets the whole
// answer as long as it reads at all.
func TestStreamHalfClosedPeerIsAnswered(t *testing.T) {
	const length = 4_000_000
	request := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[%d]}`, length)
	t.Run("pipe", servicetest.Bubble(func(t *testing.T) {
		requests, toServer := io.Pipe()
		fromServer, answers := io.Pipe()
		done := make(chan error, 1)
		go func() {
			conn := jsonrpc2.NewStreamConn(stdio{requests, answers, answers.Close})
			done <- jsonrpc2.Serve(t.Context(), newServer(t), conn, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
		}()
		_, err := io.WriteString(toServer, request)
		require.NoError(t, err)
		require.NoError(t, toServer.Close())
		received, piece := 0, make([]byte, 64<<10)
		for err == nil {
			var n int
			time.Sleep(1900 * time.Millisecond)
			n, err = fromServer.Read(piece)
			received += n
		}
		require.ErrorIs(t, err, io.EOF)
		require.Greater(t, received, length)
		require.NoError(t, <-done)
	}))
	t.Run("tcp", func(t *testing.T) {
		there, here := tcpPair(t)
		done := make(chan error, 1)
		go func() {
			done <- jsonrpc2.Serve(t.Context(), newServer(t), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
		}()
		_, err := io.WriteString(here, request)
		require.NoError(t, err)
		require.NoError(t, here.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(here)
		require.NoError(t, err)
		require.Greater(t, len(answer), length)
		require.NoError(t, <-done)
	})
}

// One that never reads is given up, and what was lost is said.
func TestStreamPeerThatNeverReads(t *testing.T) {
	there, here := tcpPair(t)
	defer here.Close()
	record := new(recorder)
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.Serve(t.Context(), newServer(t), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Logger: slog.New(record), MaxMessageSize: 64 << 20})
	}()
	_, err := io.WriteString(here, `{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[32000000]}`)
	require.NoError(t, err)
	require.NoError(t, here.(*net.TCPConn).CloseWrite())
	require.ErrorContains(t, <-done, "bytes unsent: the peer took nothing more for 2s")
	lines := record.take()
	require.Len(t, lines, 2, "the answer, and the Close or the number of its line")
	require.Equal(t, "jsonrpc2: reply lost", lines[0].Message)
	if lines[1].Message != "jsonrpc2: Conn closed with an error" { // it came within a second
		require.Equal(t, "1", lines[1].attrs["unlogged_before"])
	}
}

// A call that is given up in the middle of a TLS handshake leaves the stream as it is.
func TestStreamInterruptedHandshake(t *testing.T) {
	certificates := httptest.NewTLSServer(nil)
	certificates.Close()
	there, here := tcpPair(t)
	trusted := certificates.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	client := jsonrpc2.NewClient(
		jsonrpc2.NewStreamConn(tls.Client(here, &tls.Config{RootCAs: trusted, ServerName: "example.com"})),
		&jsonrpc2.ClientOptions{Service: "Calc", Logger: servicetest.Quiet})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	patient := client.Go("Calc.Add", map[string]float64{"A": 1, "B": 5.1}, new(float64), nil)
	_, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)

	done := make(chan error, 1)
	served, drain := context.WithCancel(t.Context())
	go func() {
		conn := jsonrpc2.NewStreamConn(tls.Server(there, &tls.Config{Certificates: certificates.TLS.Certificates}))
		done <- jsonrpc2.Serve(served, newServer(t), conn, &jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet})
	}()
	require.NoError(t, (<-patient.Done).Error)
	require.EqualValues(t, 6.1, *patient.Reply.(*float64))
	drain()
	require.NoError(t, <-done)
}

// A reset ends the contexts of the calls that run: nobody can be answered any more.
func TestStreamResetEndsContexts(t *testing.T) {
	for name, hangUp := range map[string]func(t *testing.T, here net.Conn){
		"reset": func(t *testing.T, here net.Conn) {
			require.NoError(t, here.(*net.TCPConn).SetLinger(0))
			require.NoError(t, here.Close())
		},
		"a write that fails": func(t *testing.T, here net.Conn) {
			require.NoError(t, here.(*net.TCPConn).CloseWrite()) // so that nobody reads from it any more
			_, err := io.ReadFull(here, make([]byte, 1))         // the answer to the call beside
			require.NoError(t, err)
			require.NoError(t, here.(*net.TCPConn).SetLinger(0))
			require.NoError(t, here.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			there, here := tcpPair(t)
			// Or the kernel may take all of an answer, and no write fails.
			require.NoError(t, there.(*net.TCPConn).SetWriteBuffer(64<<10))
			require.NoError(t, here.(*net.TCPConn).SetReadBuffer(64<<10))
			w := newWatch()
			done := make(chan error, 1)
			go func() {
				done <- jsonrpc2.Serve(t.Context(), newServer(t, w), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			}()
			_, err := io.WriteString(here, watch("Wait", 1))
			require.NoError(t, err)
			<-w.seen
			if name != "reset" {
				_, err = io.WriteString(here, `{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[4000000]}`)
				require.NoError(t, err)
			}
			hangUp(t, here)
			require.Error(t, <-done, "the method has seen that nobody waits")
		})
	}
}

// A request is not lost on a client that is closed at once.
func TestStreamCloseSendsWhatWaits(t *testing.T) {
	there, here := net.Pipe()
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(there)
		read <- string(all)
	}()
	require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil))
	require.NoError(t, client.Close())
	require.Equal(t, `{"jsonrpc":"2.0","method":"Calc.Add"}`+"\n", <-read)
}

func TestStreamOverloaded(t *testing.T) {
	there, here := net.Pipe() // whose other end nobody reads
	conn := jsonrpc2.NewStreamConn(here)
	message := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	taken := 0
	var err error
	for ; err == nil && taken < 20; taken++ {
		err = conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), message, jsonrpc2.Hooks{}))
	}
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.Equal(t, 16, taken, "16 MiB may wait")
	require.NoError(t, there.Close())
	require.ErrorContains(t, conn.Close(), "bytes unsent")
	require.NoError(t, conn.Close(), "once is enough")
}

// A write that fails fails its requests and ends the reading, too, though Close does
// not end a Read here.
func TestStreamWriteFails(t *testing.T) {
	fromThere, toHere := io.Pipe()
	defer toHere.Close()
	for name, test := range map[string]struct {
		written int // bytes, before the stream breaks
		want    error
	}{
		"at once": {0, jsonrpc2.ErrUnavailable},
		"later":   {3, jsonrpc2.ErrReplyLost},
		"at last": {len(addOne), jsonrpc2.ErrReplyLost},
	} {
		t.Run(name, func(t *testing.T) {
			stream := stdio{fromThere, &failingWriter{written: test.written}, func() error { return nil }}
			conn := jsonrpc2.NewStreamConn(stream)
			require.NoError(t, conn.Err())
			failed := make(chan error, 1)
			r := jsonrpc2.NewRequest(t.Context(), []byte(addOne), jsonrpc2.Hooks{Fail: func(err error) { failed <- err }})
			require.NoError(t, conn.WriteRequest(r))
			_, err := conn.ReadReply(t.Context())
			require.ErrorIs(t, err, errBroken)
			err = <-failed
			require.ErrorIs(t, err, test.want)
			require.ErrorIs(t, err, errBroken)
			require.ErrorIs(t, conn.WriteRequest(r), errBroken)
			require.ErrorIs(t, conn.Err(), errBroken)
			require.ErrorIs(t, conn.Close(), errBroken)
			require.ErrorIs(t, conn.Err(), net.ErrClosed)
		})
	}
}

// All calls of a stream that breaks end at once, each with what is known of it, and so
// do those that come later.
func TestStreamBreaks(t *testing.T) {
	fromThere, toHere := io.Pipe()
	defer toHere.Close()
	w := &failingWriter{written: 1 << 20}
	stats := new(jsonrpc2.ClientStats)
	stream := stdio{fromThere, w, func() error { return nil }}
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(stream), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
	defer client.Close()
	sent := make(chan error, 1)
	go func() { sent <- callTest(t.Context(), client) }()
	servicetest.Eventually(t, func() bool { return w.total.Load() > 0 })
	_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", strings.Repeat("x", 1<<20))
	require.ErrorIs(t, err, jsonrpc2.ErrReplyLost, "some of it was written")
	require.ErrorIs(t, <-sent, jsonrpc2.ErrReplyLost)
	require.Equal(t, jsonrpc2.ClientCounts{Calls: 2, RepliesLost: 2}, stats.Snapshot())
	require.ErrorIs(t, callTest(t.Context(), client), jsonrpc2.ErrUnavailable) // counted if net/rpc has not ended the client yet
}

// An answer that a stream has taken and can't send is counted, and logged.
func TestStreamLosesAnswers(t *testing.T) {
	log, stats := new(recorder), new(jsonrpc2.ServerStats)
	fromThere, toHere := io.Pipe()
	conn := jsonrpc2.NewStreamConn(stdio{fromThere, &failingWriter{written: 3}, fromThere.Close})
	go func() { _, _ = io.WriteString(toHere, addOne) }()
	opts := &jsonrpc2.ServerOptions{Logger: slog.New(log), Stats: stats}
	require.ErrorIs(t, jsonrpc2.Serve(t.Context(), newServer(t), conn, opts), errBroken)
	require.EqualValues(t, 1, stats.Snapshot().LostReplies)
	line := log.take()[0]
	require.Equal(t, "jsonrpc2: reply lost", line.Message)
	require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":6.1}`, line.attrs["message"])
}

var errBroken = errors.New("broken")

// A failingWriter breaks after so many bytes.
type failingWriter struct {
	written int
	total   atomic.Int64
}

func (w *failingWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.written)
	w.written -= n
	w.total.Add(int64(n))
	if n < len(p) {
		return n, errBroken
	}
	return n, nil
}
