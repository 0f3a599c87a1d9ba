package deadtest

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A Dial makes the connections of a DeadList.
type Dial func(network, addr string) (net.Conn, error)

var errCut = errors.New("cut off by the test")

// refuse is a Dial to a broker that can't be reached.
func refuse(string, string) (net.Conn, error) { return nil, errCut }

// A cutter makes connections, and cuts them off at one of their writes: to the broker it looks
// as if the process was killed there. No later write of any of them succeeds.
type cutter struct {
	mu      sync.Mutex // protects following
	left    int        // writes that succeed before the cut
	arrives bool       // the write at the cut reaches the broker
	cut     bool       // the cut has happened
}

func (c *cutter) dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	return cutConn{conn, c}, nil
}

// A cutConn is a connection that cutter made.
type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c cutConn) Write(p []byte) (int, error) {
	k := c.cutter
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left > 0 {
		k.left--
		return c.Conn.Write(p)
	}
	if k.arrives && !k.cut {
		_, _ = c.Conn.Write(p)
	}
	k.cut = true
	_ = c.Close()
	return 0, errCut
}

// cutOff calls do with a list that is cut off at its first write, then with one that is cut off
// at its second, and so on, until do ends without a cut. It does so twice: first the write at
// the cut is lost, then it arrives. After each do it calls check with do's results.
func (s site) cutOff(t *testing.T, do func(jsonrpc2.DeadList) (int, error), check func(n int, err error)) {
	t.Helper()
	for _, arrives := range []bool{false, true} {
		cut := true
		writes := 0
		for ; cut; writes++ {
			k := &cutter{left: writes, arrives: arrives}
			n, err := do(s.List(t, k.dial))
			cut = k.cut
			check(n, err)
			if !cut {
				require.NoError(t, err)
			}
		}
		t.Logf("done with %d writes", writes-1)
	}
}

// A process that is killed while it moves a request does not lose it: the request is in the
// list or in the queue, or in both.
func testRequeueCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	others := []string{request(2), request(0)}
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		return list.Requeue(t.Context(), dead[1])
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 1, "moved %d: %v", n, err)
		listed, moved := s.settled(t, others)
		if err == nil {
			require.False(t, listed)
			require.True(t, moved)
		}
		require.True(t, listed || moved, "lost: %v", err)
		if !listed {
			dead = s.renew(t, dead)
		}
	})
}

// A process that is killed while it deletes a request does not put it into the queue, and the
// others stay in the list.
func testDeleteCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	others := []string{request(2), request(0)}
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		return list.Delete(t.Context(), dead[1])
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 1, "deleted %d: %v", n, err)
		listed, moved := s.settled(t, others)
		require.False(t, err == nil && listed)
		require.False(t, moved)
		if !listed {
			dead = s.renew(t, dead)
		}
	})
}

// A process that is killed while it looks at the list takes nothing out of it.
func testListCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		seen, err := list.List(t.Context(), -1)
		return len(seen), err
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 3)
		require.Equal(t, dead, s.dead(t))
	})
	require.Empty(t, s.Drain(t))
}

// settled waits until the list has others in their order, with or without request(1) between
// them. It reports whether request(1) is in the list, and whether it is in the queue. It
// empties the queue, and requires that nothing else is in it.
func (s site) settled(t *testing.T, others []string) (listed, moved bool) {
	t.Helper()
	all := slices.Insert(slices.Clone(others), 1, request(1))
	servicetest.Eventually(t, func() bool {
		seen := requests(s.dead(t))
		listed = slices.Equal(seen, all)
		return listed || slices.Equal(seen, others)
	})
	waiting := s.Drain(t)
	if len(waiting) == 0 {
		return listed, false
	}
	require.Equal(t, []string{request(1)}, waiting)
	return listed, true
}

// renew empties the list, and buries the same three requests again.
func (s site) renew(t *testing.T, dead []jsonrpc2.DeadRequest) []jsonrpc2.DeadRequest {
	t.Helper()
	_, err := s.list.Delete(t.Context(), dead...)
	require.NoError(t, err)
	return s.bury(t, 3)
}
