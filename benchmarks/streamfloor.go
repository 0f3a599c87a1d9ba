package main

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/rpc"
	"sync"

	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// streamFloor is net/rpc over TCP with a codec that encodes nothing: a message is the number of
// its call. It shows how much of a call is net/rpc's, the goroutines' and the kernel's. As with
// ours, one goroutine of each end writes the messages of several calls at once.
func streamFloor(env *environment, t *target) error {
	return overTCP(func(t *target, server *rpc.Server, there, here net.Conn) *rpc.Client {
		serving, calling := newFloorCodec(there), newFloorCodec(here)
		t.start(serving.write, func() { close(serving.closed) })
		t.start(calling.write, func() { close(calling.closed) })
		t.start(func() { server.ServeCodec(floorServer{serving}) }, func() { _ = there.Close() })
		return rpc.NewClientWithCodec(floorClient{calling})
	})(env, t)
}

// A floorCodec is one end of the stream.
type floorCodec struct {
	conn   net.Conn
	in     *bufio.Reader
	wake   chan struct{} // receives when there is something to write
	closed chan struct{} // closed when write has to end

	mu  sync.Mutex // protects out
	out []byte
}

func newFloorCodec(conn net.Conn) *floorCodec {
	return &floorCodec{conn: conn, in: bufio.NewReader(conn), wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// put lets write write the number of a call.
func (c *floorCodec) put(seq uint64) error {
	c.mu.Lock()
	c.out = binary.BigEndian.AppendUint64(c.out, seq)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

func (c *floorCodec) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out)
}

// write writes what was put, until closed.
func (c *floorCodec) write() {
	var spare []byte
	for {
		select {
		case <-c.wake:
		case <-c.closed:
			return
		}
		yield.WhileGrowing(c.waiting)
		c.mu.Lock()
		out := c.out
		c.out = spare[:0]
		c.mu.Unlock()
		if _, err := c.conn.Write(out); err != nil {
			return
		}
		spare = out
	}
}

// read reads the number of a call.
func (c *floorCodec) read() (seq uint64, err error) {
	err = binary.Read(c.in, binary.BigEndian, &seq)
	return seq, err
}

func (c *floorCodec) Close() error { return c.conn.Close() }

type floorClient struct{ *floorCodec }

func (c floorClient) WriteRequest(r *rpc.Request, _ any) error { return c.put(r.Seq) }

func (c floorClient) ReadResponseHeader(r *rpc.Response) (err error) {
	r.Seq, err = c.read()
	return err
}

func (c floorClient) ReadResponseBody(reply any) error {
	*reply.(*float64) = 6.1
	return nil
}

type floorServer struct{ *floorCodec }

func (s floorServer) ReadRequestHeader(r *rpc.Request) (err error) {
	r.ServiceMethod = "Calc.Add"
	r.Seq, err = s.read()
	return err
}

func (s floorServer) ReadRequestBody(args any) error {
	*args.(*calc.Args) = calc.Args{A: 1, B: 5.1}
	return nil
}

func (s floorServer) WriteResponse(r *rpc.Response, _ any) error { return s.put(r.Seq) }
