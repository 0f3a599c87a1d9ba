package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"strings"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/channel"
	"github.com/creachadair/jrpc2/handler"
	powerman "github.com/powerman/rpc-codec/jsonrpc2"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

func streamRows() []row {
	return []row{
		allocationRow("allocations per call, both sides", atMost(10), streamOurs.with(64)),
		allocationRow("allocations per call, both sides", bound{}, streamOurs.with(1)),
		timeRow("time per call vs stdlib gob", atMost(0.42), streamOurs.with(64), theirs(streamGob, 64)),
		timeRow("time per call vs stdlib gob", atMost(0.9), streamOurs.with(2), theirs(streamGob, 2)),
		timeRow("time per call vs the floor of net/rpc", bound{}, streamOurs.with(64), theirs(streamFloor, 64)),
		timeRow("time per call vs the floor of net/rpc", bound{}, streamOurs.with(512), theirs(streamFloor, 512)),
		timeRow("time per call vs stdlib jsonrpc", bound{}, streamOurs.with(64), theirs(streamJSON, 64)),
		timeRow("time per call vs powerman/rpc-codec", bound{}, streamOurs.with(64), theirs(streamPowerman, 64)),
		timeRow("time per call vs creachadair/jrpc2", bound{}, streamOurs.with(64), theirs(streamJrpc2, 64)),
		speedRow("calls/s vs gRPC-Go", atLeast(3.3), streamOurs.with(64), grpcGo.with(64)),
		speedRow("calls/s vs gRPC-Go", atLeast(5.5), streamOurs.with(512), grpcGo.with(512)),
		timeRow("time per call vs a stream without it", bound{}, streamRetry.with(64), streamOurs.with(64)),
		timeRow("time per call vs a stream by itself", atMost(1.05), streamListener.with(64), streamOurs.with(64)),
		timeRow("time per call vs a stream by itself", bound{}, streamListener.with(1), streamOurs.with(1)),
		speedRow("MB/s vs stdlib jsonrpc", atLeast(1.5), streamEcho.with(1), theirs(echo(streamJSON), 1)),
	}
}

var (
	streamOurs     = transport{"stream", openStreamOurs}
	streamRetry    = transport{"stream with Retry", openStreamRetry}
	streamListener = transport{"listener", openStreamListener}
	streamEcho     = transport{"stream, a string of 1 MiB there and back", echo(openStreamOurs)}
)

// newServer returns a server with the services that every side made of net/rpc serves.
func newServer() (*rpc.Server, error) {
	server := rpc.NewServer()
	return server, errors.Join(server.Register(calc.Calc{}), server.Register(Echo{}), server.Register(Slow{}))
}

// Echo is the service for large values.
type Echo struct{}

// String returns its argument.
func (Echo) String(s string, reply *string) error {
	*reply = s
	return nil
}

// A connector joins a server and a client over a stream.
type connector func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client

// overTCP returns an opener over a loopback TCP connection.
func overTCP(connect connector) opener {
	return func(_ *environment, t *target) error {
		server, err := newServer()
		if err != nil {
			return err
		}
		there, here, err := tcpPair()
		if err != nil {
			return err
		}
		t.useClient(connect(t, server, there, here))
		return nil
	}
}

// useClient makes client the target's, and lets it call Calc.Add.
func (t *target) useClient(client *rpc.Client) {
	t.client = client
	t.onClose(func() { _ = client.Close() })
	t.use("Calc.Add")
}

// use makes the target's client add by a method.
func (t *target) use(method string) {
	t.call = func(int) error {
		var sum float64
		if err := t.client.Call(method, calc.Args{A: 1, B: 5.1}, &sum); err != nil {
			return err
		}
		return checkSum(sum)
	}
}

func openStreamOurs(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		serveOurs(t, server, jsonrpc2.NewStreamConn(there))
		return jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	})(env, t)
}

func openStreamRetry(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		serveOurs(t, server, jsonrpc2.NewStreamConn(there))
		return jsonrpc2.NewClient(jsonrpc2.Retry(jsonrpc2.NewStreamConn(here), nil), nil)
	})(env, t)
}

// openStreamListener is like openStreamOurs, with a listener at the serving end.
func openStreamListener(_ *environment, t *target) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.start(func() { _ = jsonrpc2.ServeListener(ctx, server, l, nil) }, cancel)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	t.useClient(jsonrpc2.NewClient(jsonrpc2.NewStreamConn(conn), nil))
	return nil
}

// serveOurs serves conn until the target is closed.
func serveOurs(t *target, server *rpc.Server, conn jsonrpc2.ServerConn) {
	serveWith(t, server, conn, nil)
}

func serveWith(t *target, server *rpc.Server, conn jsonrpc2.ServerConn, opts *jsonrpc2.ServerOptions) {
	ctx, cancel := context.WithCancel(context.Background())
	t.start(func() { _ = jsonrpc2.Serve(ctx, server, conn, opts) }, cancel)
}

func streamGob(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		t.start(func() { server.ServeConn(there) }, func() { _ = there.Close() })
		return rpc.NewClient(here)
	})(env, t)
}

func streamJSON(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		t.start(func() { server.ServeCodec(jsonrpc.NewServerCodec(there)) }, func() { _ = there.Close() })
		return jsonrpc.NewClient(here)
	})(env, t)
}

func streamPowerman(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		t.start(func() { server.ServeCodec(powerman.NewServerCodec(there, server)) }, func() { _ = there.Close() })
		return powerman.NewClient(here).Client
	})(env, t)
}

// streamJrpc2 is a server and a client of jrpc2, without net/rpc. The server runs as many calls
// at once as ours does.
func streamJrpc2(_ *environment, t *target) error {
	there, here, err := tcpPair()
	if err != nil {
		return err
	}
	methods := handler.Map{"Calc.Add": handler.New(func(_ context.Context, args calc.Args) (sum float64, err error) {
		err = calc.Calc{}.Add(args, &sum)
		return sum, err
	})}
	server := jrpc2.NewServer(methods, &jrpc2.ServerOptions{Concurrency: jsonrpc2.DefaultMaxInFlight})
	server.Start(channel.Line(there, there))
	client := jrpc2.NewClient(channel.Line(here, here), nil)
	t.onClose(func() {
		_ = client.Close()
		server.Stop()
		_ = server.Wait()
	})
	t.call = func(int) error {
		var sum float64
		if err := client.CallResult(context.Background(), "Calc.Add", calc.Args{A: 1, B: 5.1}, &sum); err != nil {
			return err
		}
		return checkSum(sum)
	}
	return nil
}

// echo returns an opener like o whose calls send a string of 1 MiB there and back.
func echo(o opener) opener {
	return func(env *environment, t *target) error {
		if err := o(env, t); err != nil {
			return err
		}
		text := strings.Repeat("It is what it is, and says so. ; ", 1<<20/32)
		t.call = func(int) error {
			var reply string
			if err := t.client.Call("Echo.String", text, &reply); err != nil {
				return err
			}
			if len(reply) != len(text) {
				return io.ErrShortWrite
			}
			return nil
		}
		return nil
	}
}

func tcpPair() (there, here net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if here, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if there, err = l.Accept(); err != nil {
		_ = here.Close()
	}
	return there, here, err
}
