// Package deadtest has the tests that each jsonrpc2.DeadList must pass. [Run] runs them for a
// package that has one. [Operate] plays the operator who uses a list.
package deadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// A Site is a queue of a broker with a list of dead requests. Both are empty at first, and
// nobody serves the queue. One goroutine at a time calls the methods.
type Site interface {
	// List returns a new DeadList of the queue, as another process would have it. dial
	// makes its connections; nil means the package's own dialling.
	List(t *testing.T, dial Dial) jsonrpc2.DeadList

	// Bury makes requests dead, one after another.
	Bury(t *testing.T, requests ...string)

	// Push puts requests into the queue, one after another.
	Push(t *testing.T, requests ...string)

	// Drain takes all requests out of the queue, and returns them, the oldest first.
	Drain(t *testing.T) []string

	// Break makes the queue refuse every request until mend is called.
	Break(t *testing.T) (mend func())
}

// Run runs all tests, each on a site of its own.
func Run(t *testing.T, newSite func(t *testing.T) Site) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s site)
	}{
		{"Empty", testEmpty},
		{"NewestFirst", testNewestFirst},
		{"LookChangesNothing", testLookChangesNothing},
		{"Requeue", testRequeue},
		{"Delete", testDelete},
		{"Several", testSeveral},
		{"Same", testSame},
		{"NoJSON", testNoJSON},
		{"QueueRefuses", testQueueRefuses},
		{"Together", testTogether},
		{"Context", testContext},
		{"Unreachable", testUnreachable},
		{"RequeueCutOff", testRequeueCutOff},
		{"DeleteCutOff", testDeleteCutOff},
		{"ListCutOff", testListCutOff},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			test.run(t, site{s, s.List(t, nil)})
		})
	}
}

// A site is a Site, and a DeadList of it.
type site struct {
	Site
	list jsonrpc2.DeadList
}

// dead returns all requests in the list.
func (s site) dead(t *testing.T) []jsonrpc2.DeadRequest {
	t.Helper()
	dead, err := s.list.List(t.Context(), -1)
	require.NoError(t, err)
	return dead
}

// requests returns the messages of dead requests.
func requests(dead []jsonrpc2.DeadRequest) []string {
	texts := []string{}
	for _, d := range dead {
		texts = append(texts, string(d.Request))
	}
	return texts
}

// requireDead requires that the list has want, newest first, and nothing else.
func (s site) requireDead(t *testing.T, want ...string) {
	t.Helper()
	require.Equal(t, append([]string{}, want...), requests(s.dead(t)))
	n, err := s.list.Len(t.Context())
	require.NoError(t, err)
	require.Len(t, want, n)
}

// bury makes request(0) to request(n-1) dead, and returns them, newest first: the first one is
// request(n-1).
func (s site) bury(t *testing.T, n int) []jsonrpc2.DeadRequest {
	t.Helper()
	var texts []string
	for i := range n {
		texts = append(texts, request(i))
	}
	s.Bury(t, texts...)
	dead := s.dead(t)
	slices.Reverse(texts)
	require.Equal(t, texts, requests(dead))
	return dead
}

// request returns a request that only n tells from others.
func request(n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"dead-%d","method":"Calc.Add%d"}`, n, n)
}

// The methods of an empty list succeed, and do nothing with requests that are not in it.
func testEmpty(t *testing.T, s site) {
	s.requireDead(t)
	for _, n := range []int{0, 1, 100} {
		dead, err := s.list.List(t.Context(), n)
		require.NoError(t, err)
		require.Empty(t, dead)
	}
	for _, remove := range s.removers() {
		n, err := remove(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = remove(t.Context(), jsonrpc2.DeadRequest{Handle: "{}\n{}"}, jsonrpc2.DeadRequest{})
		if err == nil { // an empty handle is no JSON
			require.Zero(t, n)
		}
	}
	require.Empty(t, s.Drain(t))
}

// removers returns the methods that take requests out of the list.
func (s site) removers() []func(context.Context, ...jsonrpc2.DeadRequest) (int, error) {
	return []func(context.Context, ...jsonrpc2.DeadRequest) (int, error){s.list.Requeue, s.list.Delete}
}

// List returns the newest n requests, or all for a negative n, the newest first.
func testNewestFirst(t *testing.T, s site) {
	all := s.bury(t, 5)
	for _, d := range all {
		require.False(t, d.Time.IsZero())
		require.NotEmpty(t, d.Reason)
	}
	require.Equal(t, "Calc.Add4", all[0].Method())
	for n, want := range map[int]int{0: 0, 1: 1, 4: 4, 5: 5, 6: 5, -7: 5} {
		dead, err := s.list.List(t.Context(), n)
		require.NoError(t, err)
		require.Equal(t, requests(all[:want]), requests(dead))
	}
}

// List changes neither the list nor the queue, and every process sees the same.
func testLookChangesNothing(t *testing.T, s site) {
	s.Push(t, request(100), request(101))
	dead := s.bury(t, 4)
	for range 3 {
		require.Equal(t, dead, s.dead(t))
		_, err := s.list.List(t.Context(), 2)
		require.NoError(t, err)
		other, err := s.List(t, nil).List(t.Context(), -1)
		require.NoError(t, err)
		require.Equal(t, dead, other)
	}
	require.Equal(t, []string{request(100), request(101)}, s.Drain(t))
}

// Requeue puts a request at the end of the queue. The request is then no longer in the list, but
// can die once more.
func testRequeue(t *testing.T, s site) {
	s.Push(t, request(100))
	dead := s.bury(t, 3)
	moved, err := s.list.Requeue(t.Context(), dead[1])
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	s.requireDead(t, request(2), request(0))
	for _, again := range s.removers() {
		n, err := again(t.Context(), dead[1])
		require.NoError(t, err)
		require.Zero(t, n)
	}
	s.requireDead(t, request(2), request(0))
	require.Equal(t, []string{request(100), request(1)}, s.Drain(t), "as the last one")

	s.Bury(t, request(1)) // once more
	again := s.dead(t)
	require.Equal(t, []string{request(1), request(2), request(0)}, requests(again))
	n, err := s.list.Delete(t.Context(), again[0])
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// Delete needs the Handle of a request alone, which another process may have listed.
func testDelete(t *testing.T, s site) {
	dead := s.bury(t, 3)
	n, err := s.List(t, nil).Delete(t.Context(), jsonrpc2.DeadRequest{Handle: dead[1].Handle})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	s.requireDead(t, request(2), request(0))
	for _, again := range s.removers() {
		n, err := again(t.Context(), dead[1])
		require.NoError(t, err)
		require.Zero(t, n)
	}
	require.Empty(t, s.Drain(t))
}

// Requeue and Delete take many requests. They ignore and don't count those that are gone, and
// those that are named twice.
func testSeveral(t *testing.T, s site) {
	const all = 600 // more than an implementation moves at once
	dead := s.bury(t, all)
	deleted, err := s.list.Delete(t.Context(), dead[100], dead[300], dead[200])
	require.NoError(t, err)
	require.Equal(t, 3, deleted)
	moved, err := s.list.Requeue(t.Context(), append(slices.Clone(dead[:all-2]), dead[0])...) // some are gone, one is named twice
	require.NoError(t, err)
	require.Equal(t, all-5, moved)
	s.requireDead(t, request(1), request(0))
	require.ElementsMatch(t, requests(slices.Concat(dead[:100], dead[101:200], dead[201:300], dead[301:all-2])), s.Drain(t))
}

// Requests with the same text are still several: each is moved or deleted by itself.
func testSame(t *testing.T, s site) {
	s.Bury(t, request(0), request(1), request(0), request(0))
	dead := s.dead(t)
	moved, err := s.list.Requeue(t.Context(), dead[0])
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	require.Len(t, s.dead(t), 3)
	require.Equal(t, []string{request(0)}, s.Drain(t))
	for range 2 {
		deleted, err := s.list.Delete(t.Context(), s.dead(t)...)
		require.NoError(t, err)
		require.Equal(t, 3, deleted)
		s.requireDead(t)
		s.Bury(t, request(0), request(0), request(0))
	}
}

// A message that is no request can be seen and deleted.
func testNoJSON(t *testing.T, s site) {
	texts := []string{"\x00\xff\n {", "[", `{"method":1}`}
	s.Bury(t, texts...)
	dead := s.dead(t)
	slices.Reverse(texts)
	require.Equal(t, texts, requests(dead))
	ids := make(map[string]bool)
	for _, d := range dead {
		require.Empty(t, d.Method())
		ids[d.ID()] = true
	}
	require.Len(t, ids, 3)
	n, err := s.list.Delete(t.Context(), dead...)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	s.requireDead(t)
}

// A request that the queue refuses stays in the list.
func testQueueRefuses(t *testing.T, s site) {
	dead := s.bury(t, 3)
	mend := s.Break(t)
	n, err := s.list.Requeue(t.Context(), dead[:2]...)
	require.Error(t, err)
	require.Zero(t, n)
	require.Equal(t, dead, s.dead(t))
	mend()
	n, err = s.list.Requeue(t.Context(), dead[:2]...)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	s.requireDead(t, request(0))
	require.ElementsMatch(t, requests(dead[:2]), s.Drain(t))
}

// Several processes use the list at once: each request is moved once, and those that are not
// moved are always seen.
func testTogether(t *testing.T, s site) {
	const all, movers = 20, 4
	dead := s.bury(t, all)
	var together sync.WaitGroup
	moved := make([]int, movers)
	errs := make([]error, 2*movers)
	for i := range movers {
		list := s.List(t, nil)
		together.Go(func() { moved[i], errs[2*i] = list.Requeue(t.Context(), dead[:all/2]...) })
		together.Go(func() {
			var seen []jsonrpc2.DeadRequest
			seen, errs[2*i+1] = list.List(t.Context(), -1)
			if len(seen) < all/2 {
				errs[2*i+1] = errors.Join(errs[2*i+1], fmt.Errorf("%d requests are seen", len(seen)))
			}
		})
	}
	together.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	sum := 0
	for _, n := range moved {
		sum += n
	}
	require.Equal(t, all/2, sum)
	require.Equal(t, dead[all/2:], s.dead(t))
	require.ElementsMatch(t, requests(dead[:all/2]), s.Drain(t))
}

// A done ctx ends each method before it changes anything.
func testContext(t *testing.T, s site) {
	dead := s.bury(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requireFails(t, ctx, s.list, dead, context.Canceled.Error())
	require.Equal(t, dead, s.dead(t))
	require.Empty(t, s.Drain(t))
}

// Without its broker, each method returns the error of the dial.
func testUnreachable(t *testing.T, s site) {
	dead := s.bury(t, 1)
	requireFails(t, t.Context(), s.List(t, refuse), dead, errCut.Error())
	require.Equal(t, dead, s.dead(t))
}

// requireFails requires that each method of a list fails with an error that contains why.
func requireFails(t *testing.T, ctx context.Context, list jsonrpc2.DeadList, dead []jsonrpc2.DeadRequest, why string) {
	t.Helper()
	_, err := list.Len(ctx)
	require.ErrorContains(t, err, why)
	_, err = list.List(ctx, 1)
	require.ErrorContains(t, err, why)
	_, err = list.Requeue(ctx, dead...)
	require.ErrorContains(t, err, why)
	_, err = list.Delete(ctx, dead...)
	require.ErrorContains(t, err, why)
}
