package hold

import "testing"

// TestMove does the row queue → ready.
func TestMove(t *testing.T) {
	moves := func(want any) call { return does(want, "blmove", "queue", "ready", "right", "left", 1) }
	runRows(t, []rowTest{
		{
			name:   "the oldest becomes ready",
			before: keys{"queue": list{"b", "a"}},
			calls:  []call{moves("a")},
			after:  keys{"queue": list{"b"}, "ready": list{"a"}},
		}, {
			name:   "again: one more is ready, and is taken behind the first",
			before: keys{"workers": rowOf, "queue": list{"c", "b", "a"}},
			calls:  []call{moves("a"), moves("b"), takes("g", 1, 9, 0, taken("4", "T", nil, 0, "a", "b", "c")...)},
			after: keys{"workers": rowOf, "held:g": hash{
				"1.T": "a", "2.T": "b", "3.T": "c", "last": "1", "next": "4", "moment": "T"}},
		}, {
			name:   "late or its answer lost: beats count it, and whoever comes takes it",
			before: keys{"workers": rowOf, "queue": list{"a"}},
			calls: []call{
				moves("a"),
				beats("g", "beat", []any{"g", "4 1000", "layout", Layout}, int64(1), int64(0), []any{}),
				takes("g", 1, 1, 0, taken("2", "T", nil, 0, "a")...),
			},
			after: keys{
				"workers": hash{"layout": Layout, "g": "4 1000"},
				"held:g":  hash{"1.T": "a", "last": "1", "next": "2", "moment": "T"},
			},
		}, {
			name:   "undone: it is queued again",
			before: keys{"queue": list{"a"}},
			calls:  []call{saves, moves("a"), undo},
		},
	})
}

// TestJoin does the row – → a generation.
func TestJoin(t *testing.T) {
	runRows(t, []rowTest{
		{
			name:  "it has a row, and the layout stands beside",
			calls: []call{joins("w", "joined", "w.T")},
			after: keys{"workers": hash{"layout": Layout, "w.T": "0 1000"}},
		}, {
			name:   "others are left alone",
			before: keys{"workers": rowOf},
			calls:  []call{joins("w", "joined", "w.T")},
			after:  keys{"workers": hash{"layout": Layout, "g": "3 1000", "w.T": "0 1000"}},
		}, {
			name:   "again, late or its answer lost: a row that nobody uses is reaped, and nothing is left",
			before: keys{"workers": hash{"layout": Layout, "w.1.1": "0 1000"}},
			calls:  []call{reaps("w.1.1", "0 1000", int64(0), int64(0), int64(0))},
			after:  keys{},
		}, {
			name:  "undone: it is told gone",
			calls: []call{saves, joins("w", "joined", "w.T"), undo, beats("w.1.1", "gone"), takes("w.1.1", 1, 1, 1, "gone")},
			after: keys{},
		}, {
			name:   "another layout",
			before: keys{"workers": hash{"layout": "7", "x": "3 1000"}},
			calls:  []call{joins("w", "layout", "7")},
		}, {
			name:  "the first layout",
			calls: []call{does(int64(1), "zadd", "workers", 1, "x"), joins("w", "layout", "0")},
			after: keys{"workers": "zset"},
		},
	})
}

// Of ten, nine are taken.
var (
	ten   = keys{"workers": rowOf, "ready": list{"d", "c", "b", "a"}, "queue": list{"j", "i", "h", "g", "f", "e"}}
	nine  = []any{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	ninth = keys{"workers": rowOf, "queue": list{"j"}, "held:g": hash{
		"1.T": "a", "2.T": "b", "3.T": "c", "4.T": "d", "5.T": "e", "6.T": "f", "7.T": "g", "8.T": "h", "9.T": "i",
		"last": "1", "next": "10", "moment": "T"}}
)

// batch is what a generation holds that has taken a and b, and before that something
// else.
var batch = hash{"4.1.1": "a", "5.1.1": "b", "last": "4", "next": "6", "moment": "1.1"}

// TestTake does the row queued, suspect → held.
func TestTake(t *testing.T) {
	runRows(t, []rowTest{
		{
			name:   "nothing waits",
			before: keys{"workers": rowOf},
			calls:  []call{takes("g", 1, 9, 1, taken("1", "T", nil, 0)...)},
		}, {
			name: "a suspect, then what is ready, then what is queued",
			before: keys{"workers": rowOf, "suspects": list{"2 s", "1 r"},
				"ready": list{"b", "a"}, "queue": list{"d", "c"}},
			calls: []call{takes("g", 1, 4, 1, taken("5", "T", "2", 0, "s", "a", "b", "c")...)},
			after: keys{"workers": rowOf, "suspects": list{"1 r"}, "queue": list{"d"}, "held:g": hash{
				"s1.T": "s", "ns1.T": "2", "2.T": "a", "3.T": "b", "4.T": "c",
				"last": "1", "next": "5", "moment": "T"}},
		}, {
			name:   "no suspect",
			before: keys{"workers": rowOf, "suspects": list{"1 s"}},
			calls:  []call{takes("g", 1, 9, 0, taken("1", "T", nil, 0)...)},
		}, {
			name:   "a suspect's body is all behind the first space",
			before: keys{"workers": rowOf, "suspects": list{"1  2 s"}},
			calls:  []call{takes("g", 1, 9, 1, taken("2", "T", "1", 0, " 2 s")...)},
			after: keys{"workers": rowOf, "held:g": hash{
				"s1.T": " 2 s", "ns1.T": "1", "last": "1", "next": "2", "moment": "T"}},
		}, {
			name:   "no more once there are so many bytes",
			before: keys{"workers": rowOf, "queue": list{"c", "bbb", "a"}},
			calls:  []call{takesBytes("g", 1, 9, 3, 0, taken("3", "T", nil, 0, "a", "bbb")...)},
			after: keys{"workers": rowOf, "queue": list{"c"}, "held:g": hash{
				"1.T": "a", "2.T": "bbb", "last": "1", "next": "3", "moment": "T"}},
		}, {
			name:   "many: all that is ready, then the oldest that are queued",
			before: ten,
			calls:  []call{takes("g", 1, 9, 0, taken("10", "T", nil, 0, nine...)...)},
			after:  ninth,
		}, {
			name:   "many, with a Redis that does not tell how many bytes they have",
			before: ten,
			calls: []call{
				does("OK", "acl", "setuser", "default", "-memory"),
				takes("g", 1, 9, 0, taken("10", "T", nil, 0, nine...)...),
				does("OK", "acl", "setuser", "default", "+memory"),
			},
			after: ninth,
		}, {
			name:   "a right is missing: the suspect that is taken before is held",
			before: keys{"workers": rowOf, "suspects": list{"2 s"}, "ready": list{"d", "c", "b", "a"}, "queue": list{"e"}},
			calls: []call{
				does("OK", "acl", "setuser", "default", "-rpop"),
				takes("g", 1, 9, 1, taken("2", "T", "2", 4, "s")...),
				refuses(takes("g", 2, 9, 1), "can't run this command"),
				does("OK", "acl", "setuser", "default", "+rpop"),
			},
			after: keys{"workers": rowOf, "ready": list{"d", "c", "b", "a"}, "queue": list{"e"}, "held:g": hash{
				"s1.T": "s", "ns1.T": "2", "last": "1", "next": "2", "moment": "T"}},
		}, {
			name:   "many: no more once there are so many bytes",
			before: keys{"workers": rowOf, "queue": list{"fff", "e", "d", "c", "b", "a"}},
			calls:  []call{takesBytes("g", 1, 9, 4, 0, taken("5", "T", nil, 0, "a", "b", "c", "d")...)},
			after: keys{"workers": rowOf, "queue": list{"fff", "e"}, "held:g": hash{
				"1.T": "a", "2.T": "b", "3.T": "c", "4.T": "d", "last": "1", "next": "5", "moment": "T"}},
		}, {
			name:   "again, or its answer lost: the same requests, and nothing that waits",
			before: keys{"workers": rowOf, "held:g": batch, "queue": list{"c"}, "suspects": list{"1 s"}},
			calls:  []call{takes("g", 4, 9, 1, taken("6", "1.1", nil, 0, "a", "b")...)},
		}, {
			name: "again: the suspect, too",
			before: keys{"workers": rowOf, "held:g": hash{
				"s4.1.1": "a", "ns4.1.1": "2", "5.1.1": "b", "last": "4", "next": "6", "moment": "1.1"}},
			calls: []call{takes("g", 4, 9, 1, taken("6", "1.1", "2", 0, "a", "b")...)},
		}, {
			name: "again: what is still held of them",
			before: keys{"workers": rowOf, "held:g": hash{
				"c4.1.1": "", "5.1.1": "b", "last": "4", "next": "6", "moment": "1.1"}},
			calls: []call{takes("g", 4, 9, 1, taken("6", "1.1", nil, 0, nil, "b")...)},
		}, {
			name:   "what is still ready is counted, again, too",
			before: keys{"workers": rowOf, "ready": list{"c", "b", "a"}},
			calls:  []call{takes("g", 1, 1, 1, taken("2", "T", nil, 2, "a")...), takes("g", 1, 9, 1, taken("2", "T", nil, 2, "a")...)},
			after: keys{"workers": rowOf, "ready": list{"c", "b"}, "held:g": hash{
				"1.T": "a", "last": "1", "next": "2", "moment": "T"}},
		}, {
			name:   "late: nothing, and the next token",
			before: keys{"workers": rowOf, "held:g": batch, "queue": list{"c"}},
			calls:  []call{takes("g", 2, 9, 1, taken("6", "1.1", nil, 0)...), takes("g", 5, 9, 1, taken("6", "1.1", nil, 0)...)},
		}, {
			name:   "from the next token on",
			before: keys{"workers": rowOf, "held:g": batch, "queue": list{"c"}},
			calls:  []call{takes("g", 6, 9, 1, taken("7", "T", nil, 0, "c")...)},
			after: keys{"workers": rowOf, "held:g": hash{
				"4.1.1": "a", "5.1.1": "b", "6.T": "c", "last": "6", "next": "7", "moment": "T"}},
		}, {
			name: "the queue is no list: what is taken before it is held",
			before: keys{"workers": rowOf, "suspects": list{"2 s"}, "ready": list{"a"},
				"queue": hash{"x": "y"}},
			calls: []call{takes("g", 1, 9, 1, taken("3", "T", "2", 0, "s", "a")...), refuses(takes("g", 3, 9, 1), "WRONGTYPE")},
			after: keys{"workers": rowOf, "queue": hash{"x": "y"}, "held:g": hash{
				"s1.T": "s", "ns1.T": "2", "2.T": "a", "last": "1", "next": "3", "moment": "T"}},
		}, {
			name:   "what is ready is no list: what is queued is taken, again, too",
			before: keys{"workers": rowOf, "ready": hash{"x": "y"}, "queue": list{"a"}},
			calls: []call{takes("g", 1, 9, 1, taken("2", "T", nil, 0, "a")...), takes("g", 1, 9, 1, taken("2", "T", nil, 0, "a")...),
				refuses(takes("g", 2, 9, 1), "WRONGTYPE")},
			after: keys{"workers": rowOf, "ready": hash{"x": "y"}, "held:g": hash{
				"1.T": "a", "last": "1", "next": "2", "moment": "T"}},
		}, {
			name:   "the generation is gone",
			before: keys{"queue": list{"a"}, "suspects": list{"1 s"}, "ready": list{"b"}},
			calls:  []call{takes("g", 1, 9, 1, "gone")},
		}, {
			name:   "the generation is being reaped",
			before: keys{"workers": hash{"layout": Layout, "g": "gone"}, "held:g": batch, "queue": list{"a"}},
			calls:  []call{takes("g", 4, 9, 1, "gone"), takes("g", 6, 9, 1, "gone")},
		}, {
			name:   "undone: all is queued, and is taken under the worker's own token",
			before: keys{"workers": rowOf, "queue": list{"b", "a"}},
			calls: []call{
				saves, takes("g", 1, 1, 0, taken("2", "T", nil, 0, "a")...), undo,
				takes("g", 2, 1, 0, taken("3", "T", nil, 0, "a")...),
			},
			after: keys{"workers": rowOf, "queue": list{"b"}, "held:g": hash{
				"2.T": "a", "last": "2", "next": "3", "moment": "T"}},
		}, {
			name:   "undone, and then it comes late: another request has its token, but not its name",
			before: keys{"workers": rowOf, "queue": list{"b"}},
			calls: []call{ // 1.1.1 was a before the failover
				takes("g", 1, 1, 0, taken("2", "T", nil, 0, "b")...),
				settles("g", []string{"1.1.1"}, int64(1)),
			},
			after: keys{"workers": rowOf, "held:g": hash{"1.T": "b", "last": "1", "next": "2", "moment": "T"}},
		},
	})
}

// TestBeginRows does the row held → begun.
func TestBeginRows(t *testing.T) {
	taken := hash{"s1.1.1": "a", "ns1.1.1": "1", "last": "1", "next": "2", "moment": "1.1"}
	begun := hash{"s1.1.1": "a", "ns1.1.1": "2", "last": "1", "next": "2", "moment": "1.1"}
	settled := hash{"last": "1", "next": "2", "moment": "1.1"}
	runRows(t, []rowTest{
		{
			name:   "its count is noted",
			before: keys{"workers": rowOf, "held:g": taken},
			calls:  []call{begins("g", "s1.1.1", 2, 1)},
			after:  keys{"workers": rowOf, "held:g": begun},
		}, {
			name:   "again, or its answer lost: the same count",
			before: keys{"workers": rowOf, "held:g": taken},
			calls:  []call{begins("g", "s1.1.1", 2, 1), begins("g", "s1.1.1", 2, 1)},
			after:  keys{"workers": rowOf, "held:g": begun},
		}, {
			name:   "late: it is settled",
			before: keys{"workers": rowOf, "held:g": settled},
			calls:  []call{begins("g", "s1.1.1", 2, 0)},
		}, {
			name:   "it was not run after all: it goes back with the count of before",
			before: keys{"workers": rowOf, "held:g": begun},
			calls:  []call{releases("g", 1, "s1.1.1", 1), begins("g", "s1.1.1", 2, 0)},
			after:  keys{"workers": rowOf, "held:g": settled, "suspects": list{"1 a"}},
		}, {
			name:   "the generation is gone",
			before: keys{"suspects": list{"1 a"}},
			calls:  []call{begins("g", "s1.1.1", 2, 0)},
		}, {
			name:   "the generation is being reaped",
			before: keys{"workers": hash{"layout": Layout, "g": "gone"}, "held:g": taken},
			calls:  []call{begins("g", "s1.1.1", 2, 0)},
		}, {
			name:   "undone: one start is not counted",
			before: keys{"workers": rowOf, "held:g": taken},
			calls: []call{
				saves, begins("g", "s1.1.1", 2, 1), undo,
				reaps("g", "3 1000", int64(0), int64(1), int64(0)),
			},
			after: keys{"suspects": list{"1 a"}},
		},
	})
}
