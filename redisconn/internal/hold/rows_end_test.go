package hold

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBeatRows does the row a row → another row.
func TestBeatRows(t *testing.T) {
	runRows(t, []rowTest{
		{
			name: "its row changes, and it hears of all",
			before: keys{
				"workers": hash{"layout": Layout, "g": "9 1000", "x": "3 2000", "y": "gone"}, "held:g": batch,
				"queue": list{"d"}, "ready": list{"c", "b"}, "suspects": list{"1 a"},
			},
			calls: []call{beats("g", "beat",
				[]any{"g", "10 1000", "layout", Layout, "x", "3 2000", "y", "gone"}, int64(3), int64(1),
				[]any{"4.1.1", "5.1.1", "last", "moment", "next"})},
			after: keys{
				"workers": hash{"layout": Layout, "g": "10 1000", "x": "3 2000", "y": "gone"}, "held:g": batch,
				"queue": list{"d"}, "ready": list{"c", "b"}, "suspects": list{"1 a"},
			},
		}, {
			name:   "again, late or its answer lost: its row changes once more",
			before: keys{"workers": rowOf},
			calls: []call{
				beats("g", "beat", []any{"g", "4 1000", "layout", Layout}, int64(0), int64(0), []any{}),
				beats("g", "beat", []any{"g", "5 1000", "layout", Layout}, int64(0), int64(0), []any{}),
			},
			after: keys{"workers": hash{"layout": Layout, "g": "5 1000"}},
		}, {
			name:  "the generation is gone, and does not come back",
			calls: []call{beats("g", "gone")},
			after: keys{},
		}, {
			name:   "the generation is being reaped, and stays so",
			before: keys{"workers": gone, "held:g": batch},
			calls:  []call{beats("g", "gone")},
		}, {
			name:   "undone: the next one changes the row as this one did",
			before: keys{"workers": rowOf},
			calls: []call{
				saves, beats("g", "beat", []any{"g", "4 1000", "layout", Layout}, int64(0), int64(0), []any{}),
				undo, beats("g", "beat", []any{"g", "4 1000", "layout", Layout}, int64(0), int64(0), []any{}),
			},
			after: keys{"workers": hash{"layout": Layout, "g": "4 1000"}},
		},
	})
}

// many is what a generation holds that has taken three requests, in no order.
var many = hash{"10.1.1": "c", "8.1.1": "a", "9.1.1": "b", "last": "8", "next": "11", "moment": "1.1"}

// TestReap does the row held → suspects or dead.
func TestReap(t *testing.T) {
	const silent = "3 1000"
	others := hash{"layout": Layout, "x": "5 1000"}
	runRows(t, []rowTest{
		{
			name:   "all that it holds, and a suspect that was started too often is dead",
			before: keys{"workers": rowOf, "held:g": bothKinds, "suspects": list{"1 s"}},
			calls:  []call{reaps("g", silent, int64(0), int64(1), int64(0), int64(2), "a")},
			after:  keys{"suspects": list{"1 s", "1 b"}, "dead": list{"2, why\na"}},
		}, {
			name: "a suspect that was not begun has the count of before",
			before: keys{"workers": rowOf, "held:g": hash{
				"s4.1.1": "a", "ns4.1.1": "1", "last": "4", "next": "5", "moment": "1.1"}},
			calls: []call{reaps("g", silent, int64(0), int64(1), int64(0))},
			after: keys{"suspects": list{"1 a"}},
		}, {
			name:   "others stay",
			before: keys{"workers": hash{"layout": Layout, "g": silent, "x": "5 1000"}, "held:g": batch, "held:x": batch},
			calls:  []call{reaps("g", silent, int64(0), int64(2), int64(0))},
			after:  keys{"workers": others, "held:x": batch, "suspects": list{"1 a", "1 b"}},
		}, {
			name:   "it has beaten meanwhile",
			before: keys{"workers": rowOf, "held:g": batch},
			calls:  []call{reaps("g", "2 1000", int64(0), int64(0), int64(0))},
		}, {
			name:   "again, late or its answer lost: nothing",
			before: keys{"workers": others, "suspects": list{"1 a"}},
			calls:  []call{reaps("g", silent, int64(0), int64(0), int64(0))},
		}, {
			name:   "in bites, the oldest first, and it is gone from the first one on",
			before: keys{"workers": rowOf, "held:g": many},
			calls:  []call{reaps("g", silent, int64(1), int64(2), int64(0)), beats("g", "gone")},
			after: keys{"workers": gone, "suspects": list{"1 a", "1 b"},
				"held:g": hash{"10.1.1": "c", "last": "8", "next": "11", "moment": "1.1"}},
		}, {
			name:   "whoever finds a rest takes it, whatever the row was",
			before: keys{"workers": gone, "held:g": many},
			calls: []call{
				reaps("g", "gone", int64(1), int64(2), int64(0)),
				reaps("g", silent, int64(0), int64(1), int64(0)),
				reaps("g", silent, int64(0), int64(0), int64(0)),
			},
			after: keys{"suspects": list{"1 a", "1 b", "1 c"}},
		}, {
			name:   "in bites of so many bytes",
			before: keys{"workers": rowOf, "held:g": many},
			calls:  []call{reapsBytes("g", silent, 1, int64(1), int64(1), int64(0))},
			after: keys{"workers": gone, "suspects": list{"1 a"},
				"held:g": hash{"10.1.1": "c", "9.1.1": "b", "last": "8", "next": "11", "moment": "1.1"}},
		}, {
			name: "the oldest dead one is dropped over the limit",
			before: keys{"workers": rowOf, "dead": list{"y", "x"}, "held:g": hash{
				"s4.1.1": "a", "ns4.1.1": "3", "last": "4", "next": "5", "moment": "1.1"}},
			calls: []call{reaps("g", silent, int64(0), int64(0), int64(1), int64(3), "a")},
			after: keys{"dead": list{"3, why\na", "y"}},
		}, {
			name: "all that are over a limit that is lower than before are dropped",
			before: keys{"workers": rowOf, "dead": list{"z", "y", "x", "w"}, "held:g": hash{
				"s4.1.1": "a", "ns4.1.1": "3", "last": "4", "next": "5", "moment": "1.1"}},
			calls: []call{reaps("g", silent, int64(0), int64(0), int64(3), int64(3), "a")},
			after: keys{"dead": list{"3, why\na", "z"}},
		}, {
			name:   "it can't be pushed: it is still held",
			before: keys{"workers": rowOf, "held:g": bothKinds, "dead": hash{"x": "y"}},
			calls:  []call{refuses(reaps("g", silent), "WRONGTYPE")},
			after:  keys{"workers": gone, "held:g": bothKinds, "dead": hash{"x": "y"}},
		}, {
			name: "a body is dead as it is",
			before: keys{"workers": rowOf, "held:g": hash{
				"s4.1.1": " \n\x00\xff\u2028", "ns4.1.1": "2", "last": "4", "next": "5", "moment": "1.1"}},
			calls: []call{reaps("g", silent, int64(0), int64(0), int64(0), int64(2), " \n\x00\xff\u2028")},
			after: keys{"dead": list{"2, why\n \n\x00\xff\u2028"}},
		}, {
			name:   "undone: it is as silent as before",
			before: keys{"workers": rowOf, "held:g": batch},
			calls: []call{
				saves, reaps("g", silent, int64(0), int64(2), int64(0)),
				undo, reaps("g", silent, int64(0), int64(2), int64(0)),
			},
			after: keys{"suspects": list{"1 a", "1 b"}},
		},
	})
}

// TestReapMany keeps the take-over of a server that held very many requests from taking
// up all of Redis' time: no bite looks for the oldest ones of all. None is lost, and
// those of a bite are in order.
func TestReapMany(t *testing.T) {
	t.Parallel()
	const number = 10_000
	b := startBroker(t)
	workers := []any{"hset", "workers", "layout", Layout, "g", "3 1000", "x", "5 1000"}
	held := []any{"hset", "held:g", "last", 1, "next", number + 1, "moment", "1.1"}
	for i := range number {
		held = append(held, fmt.Sprintf("%d.1.1", i+1), strconv.Itoa(i+1))
	}
	for _, command := range [][]any{workers, held} {
		_, err := b.do(command...)
		require.NoError(t, err)
	}
	more := int64(1)
	for bites := 0; more == 1; bites++ {
		require.LessOrEqual(t, bites, number/biteRequests)
		reply, err := b.run(reaping(workload{}, nil))
		require.NoError(t, err)
		more = reply.([]any)[0].(int64)
	}
	var suspects []int
	for _, suspect := range b.rdb.LRange(t.Context(), "suspects", 0, -1).Val() {
		token, err := strconv.Atoi(strings.TrimPrefix(suspect, "1 "))
		require.NoError(t, err)
		suspects = append(suspects, token)
	}
	require.True(t, slices.IsSorted(suspects[:biteRequests]))
	slices.Sort(suspects)
	require.Len(t, slices.Compact(suspects), number)
	require.EqualValues(t, 0, b.rdb.Exists(t.Context(), "held:g").Val())
}

// TestLeaveRows does the row held, ready → queue, suspects.
func TestLeaveRows(t *testing.T) {
	others := hash{"layout": Layout, "g": "3 1000", "x": "5 1000"}
	runRows(t, []rowTest{
		{
			name:   "all goes back, and nothing is left",
			before: keys{"workers": rowOf, "held:g": bothKinds, "ready": list{"d", "c"}, "suspects": list{"1 s"}, "queue": list{"e"}},
			calls:  []call{leaves("g", 0)},
			after:  keys{"queue": list{"e", "b", "d", "c"}, "suspects": list{"2 a", "1 s"}},
		}, {
			name:   "in the order of their tokens",
			before: keys{"workers": rowOf, "held:g": many},
			calls:  []call{leaves("g", 0)},
			after:  keys{"queue": list{"c", "b", "a"}},
		}, {
			name:   "no more once there are so many bytes, until nothing is left",
			before: keys{"workers": rowOf, "held:g": many, "ready": list{"d"}},
			calls:  []call{leavesBytes("g", 1, 1, 0), leavesBytes("g", 2, 1, 0), leavesBytes("g", 1, 1, 0), leavesBytes("g", 1, 0, 0)},
			after:  keys{"queue": list{"c", "b", "a", "d"}},
		}, {
			name:   "the last names of claims go, too",
			before: keys{"workers": rowOf, "held:g": hash{"c5.1.1": "", "last": "4", "next": "6", "moment": "1.1"}},
			calls:  []call{leaves("g", 0)},
			after:  keys{},
		}, {
			name:   "others stay",
			before: keys{"workers": others, "held:g": batch, "held:x": batch},
			calls:  []call{leaves("g", 0)},
			after:  keys{"workers": hash{"layout": Layout, "x": "5 1000"}, "held:x": batch, "queue": list{"b", "a"}},
		}, {
			name:   "answers are unsent: their requests stay, and the row, for others to reap",
			before: keys{"workers": others, "held:g": bothKinds},
			calls:  []call{leaves("g", 1, "s4.1.1")},
			after: keys{"workers": others, "queue": list{"b"},
				"held:g": hash{"s4.1.1": "a", "ns4.1.1": "2", "last": "4", "next": "6", "moment": "1.1"}},
		}, {
			name:   "answers are unsent whose requests are not held any more",
			before: keys{"workers": rowOf, "held:g": marks},
			calls:  []call{leaves("g", 0, "s4.1.1", "next")},
			after:  keys{},
		}, {
			name:   "it can't be pushed: it is still held",
			before: keys{"workers": rowOf, "held:g": bothKinds, "suspects": hash{"x": "y"}},
			calls:  []call{refuses(leaves("g", 0), "WRONGTYPE")},
		}, {
			name:   "again, late or its answer lost: nothing, and takes are refused",
			before: keys{"queue": list{"b", "a"}, "ready": list{"c"}},
			calls:  []call{leaves("g", 0), takes("g", 6, 9, 1, "gone"), beats("g", "gone")},
		}, {
			name:   "the generation is being reaped: nothing",
			before: keys{"workers": gone, "held:g": batch, "ready": list{"c"}},
			calls:  []call{leaves("g", 0)},
		}, {
			name:   "undone: a silent row, which is reaped",
			before: keys{"workers": rowOf, "held:g": batch},
			calls:  []call{saves, leaves("g", 0), undo, reaps("g", "3 1000", int64(0), int64(2), int64(0))},
			after:  keys{"suspects": list{"1 a", "1 b"}},
		},
	})
}

// TestWithdraw shows what a client that withdraws does not find: it must take these
// requests for started.
func TestWithdraw(t *testing.T) {
	runRows(t, []rowTest{
		{
			name:   "it is queued: it never runs",
			before: keys{"workers": rowOf, "queue": list{"b", "a"}},
			calls:  []call{does(int64(1), "lrem", "queue", -1, "a")},
			after:  keys{"workers": rowOf, "queue": list{"b"}},
		}, {
			name:   "it is ready, a suspect or held",
			before: keys{"workers": rowOf, "ready": list{"a"}, "suspects": list{"1 a"}, "held:g": hash{"1.1.1": "a"}},
			calls:  []call{does(int64(0), "lrem", "queue", -1, "a")},
		},
	})
}
