package hold

import "testing"

// What is left in held:g when all is settled.
var marks = hash{"last": "4", "next": "6", "moment": "1.1"}

// bothKinds is what a generation holds that has taken and begun a suspect, a, and a
// request, b.
var bothKinds = hash{"s4.1.1": "a", "ns4.1.1": "2", "5.1.1": "b", "last": "4", "next": "6", "moment": "1.1"}

// gone is what a reap has marked, and not finished.
var gone = hash{"layout": Layout, "g": "gone"}

// orphaned gives back what was settled before a failover undid it.
var orphaned = releases("g", 2, "s4.1.1", "?", "5.1.1", "?")

var asSuspects = keys{"workers": rowOf, "held:g": marks, "suspects": list{"1 b", "2 a"}}

// TestSettle does the row held → settled.
func TestSettle(t *testing.T) {
	both := []string{"s4.1.1", "5.1.1"}
	answered := keys{"workers": rowOf, "held:g": marks, "reply": list{"re s4.1.1", "re 5.1.1"}}
	runRows(t, []rowTest{
		{
			name:   "the answers are there, and what they belong to is not held any more",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{settles("g", both, int64(0)), beforeEnd("reply")},
			after:  answered,
		}, {
			name:   "again, late or its answer lost: not held, and no second answer",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{settles("g", both, int64(0)), settles("g", both, int64(1), int64(2))},
			after:  answered,
		}, {
			name:   "again beside another answer: that alone",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{settles("g", both[:1], int64(0)), settles("g", both, int64(1), int64(0))},
			after:  answered,
		}, {
			name:   "twice in one",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{settles("g", []string{"s4.1.1", "5.1.1", "5.1.1"}, int64(3), int64(0))},
			after:  answered,
		}, {
			name:   "an answer to no request that is held",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{settles("g", []string{""}, int64(0))},
			after:  keys{"workers": rowOf, "held:g": bothKinds, "reply": list{"re "}},
		}, {
			name:   "others pushed to a list that does not expire: nor does it now",
			before: keys{"workers": rowOf, "held:g": bothKinds, "reply": list{"x"}},
			calls:  []call{settles("g", both, []any{}...), does(int64(-1), "pttl", "reply")},
			after:  keys{"workers": rowOf, "held:g": marks, "reply": list{"x", "re s4.1.1", "re 5.1.1"}},
		}, {
			name:   "the list expires anyway: now later",
			before: keys{"workers": rowOf, "held:g": bothKinds, "reply": list{"x"}},
			calls:  []call{does(int64(1), "pexpire", "reply", 10_000), settles("g", both, int64(0)), beforeEnd("reply")},
			after:  keys{"workers": rowOf, "held:g": marks, "reply": list{"x", "re s4.1.1", "re 5.1.1"}},
		}, {
			name:   "the answer can't be pushed: it is still held",
			before: keys{"workers": rowOf, "held:g": bothKinds, "reply": hash{"x": "y"}},
			calls:  []call{refuses(settles("g", both), "WRONGTYPE")},
		}, {
			name:   "the generation was reaped: no answer",
			before: keys{"suspects": list{"2 a", "1 b"}},
			calls:  []call{settles("g", both, int64(1), int64(2))},
		}, {
			name:   "the generation is being reaped: what is still held",
			before: keys{"workers": gone, "suspects": list{"2 a"}, "held:g": hash{"5.1.1": "b"}},
			calls:  []call{settles("g", both, int64(1), int64(0))},
			after:  keys{"workers": gone, "suspects": list{"2 a"}, "reply": list{"re 5.1.1"}},
		}, {
			name:   "undone: the orphans become suspects, which ran as often as is noted",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{saves, settles("g", both, int64(0)), undo, orphaned},
			after:  asSuspects,
		}, {
			name:   "undone, and sent again: it is settled",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{saves, settles("g", both, int64(0)), undo, settles("g", both, int64(0)), releases("g", 0, "5.1.1", "?")},
			after:  answered,
		},
	})
}

// beforeEnd sees that a list expires after ten seconds, and within a minute.
func beforeEnd(name string) call {
	return call{do: func(t *testing.T, b *broker) {
		ttl, err := b.do("pttl", name)
		if err != nil || ttl.(int64) <= 10_000 || ttl.(int64) > 60_000 {
			t.Errorf("%s expires in %v ms: %v", name, ttl, err)
		}
	}}
}

// TestClaim does the row held → claimed → settled.
func TestClaim(t *testing.T) {
	both := []string{"s4.1.1", "5.1.1"}
	claimed := hash{"cs4.1.1": "", "c5.1.1": "", "last": "4", "next": "6", "moment": "1.1"}
	runRows(t, []rowTest{
		{
			name:   "it is settled, and its name stays",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{claims("g", both, []any{}...)},
			after:  keys{"workers": rowOf, "held:g": claimed},
		}, {
			name:   "again, or its answer lost: it is ours",
			before: keys{"workers": rowOf, "held:g": claimed},
			calls:  []call{claims("g", both, []any{}...)},
		}, {
			name:   "dropped when the answer is there",
			before: keys{"workers": rowOf, "held:g": claimed},
			calls:  []call{drops("g", 2, both...), drops("g", 0, both...)},
			after:  keys{"workers": rowOf, "held:g": marks},
		}, {
			name:   "late, when it is dropped: not held",
			before: keys{"workers": rowOf, "held:g": marks},
			calls:  []call{claims("g", both, int64(1), int64(2))},
		}, {
			name:   "it is no request any more: takes, beats' orphans and releases don't find it",
			before: keys{"workers": rowOf, "held:g": claimed},
			calls:  []call{takes("g", 4, 9, 1, taken("6", "1.1", nil, 0, nil, nil)...), releases("g", 0, "s4.1.1", 1, "5.1.1", "?")},
		}, {
			name:   "its server dies before the answer is there: nothing is left, and nothing runs again",
			before: keys{"workers": rowOf, "held:g": claimed},
			calls:  []call{reaps("g", "3 1000", int64(0), int64(0), int64(0)), claims("g", both, int64(1), int64(2))},
			after:  keys{},
		}, {
			name:   "the generation was reaped: not held, and no name is made",
			before: keys{"suspects": list{"2 a", "1 b"}},
			calls:  []call{claims("g", both, int64(1), int64(2))},
		}, {
			name:   "undone: the orphans become suspects",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{saves, claims("g", both, []any{}...), undo, orphaned},
			after:  asSuspects,
		}, {
			name:   "no answer is wanted: dropped at once, its count, too",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{drops("g", 3, both...)},
			after:  keys{"workers": rowOf, "held:g": marks},
		}, {
			name:   "a drop that is undone: orphans",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{saves, drops("g", 3, both...), undo, orphaned},
			after:  asSuspects,
		},
	})
}

// TestRelease does the row held → queue or suspects.
func TestRelease(t *testing.T) {
	runRows(t, []rowTest{
		{
			name:   "requests that did not run go to where the next take looks",
			before: keys{"workers": rowOf, "held:g": batch, "queue": list{"d", "c"}},
			calls:  []call{releases("g", 2, "5.1.1", 0, "4.1.1", 0)},
			after:  keys{"workers": rowOf, "held:g": marks, "queue": list{"d", "c", "b", "a"}},
		}, {
			name:   "no more once there are so many bytes",
			before: keys{"workers": rowOf, "held:g": batch},
			calls:  []call{releasesBytes("g", 1, 1, 1, "5.1.1", 0, "4.1.1", 0), releasesBytes("g", 1, 2, 1, "5.1.1", 0, "4.1.1", 0)},
			after:  keys{"workers": rowOf, "held:g": marks, "queue": list{"b", "a"}},
		}, {
			name:   "so does a suspect, with the count that is said",
			before: keys{"workers": rowOf, "held:g": bothKinds, "suspects": list{"1 c"}},
			calls:  []call{releases("g", 2, "5.1.1", 0, "s4.1.1", 1)},
			after:  keys{"workers": rowOf, "held:g": marks, "queue": list{"b"}, "suspects": list{"1 a", "1 c"}},
		}, {
			name:   "an orphan, with the count that is noted",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{orphaned},
			after:  asSuspects,
		}, {
			name:   "again, late or its answer lost: nothing",
			before: keys{"workers": rowOf, "held:g": marks, "queue": list{"b", "a"}},
			calls:  []call{releases("g", 0, "5.1.1", 0, "4.1.1", 0)},
		}, {
			name:   "the generation is gone: nothing",
			before: keys{"suspects": list{"2 a", "1 b"}},
			calls:  []call{releases("g", 0, "5.1.1", 0, "s4.1.1", 1)},
		}, {
			name:   "the generation is being reaped: what is still held",
			before: keys{"workers": gone, "suspects": list{"2 a"}, "held:g": hash{"5.1.1": "b"}},
			calls:  []call{releases("g", 1, "5.1.1", 0, "s4.1.1", 1)},
			after:  keys{"workers": gone, "suspects": list{"2 a"}, "queue": list{"b"}},
		}, {
			name:   "it can't be pushed: it is still held",
			before: keys{"workers": rowOf, "held:g": bothKinds, "queue": hash{"x": "y"}},
			calls:  []call{refuses(releases("g", 0, "s4.1.1", 1, "5.1.1", 0), "WRONGTYPE")},
		}, {
			name:   "undone: it is held, and is an orphan",
			before: keys{"workers": rowOf, "held:g": bothKinds},
			calls:  []call{saves, releases("g", 2, "5.1.1", 0, "s4.1.1", 1), undo, orphaned},
			after:  asSuspects,
		},
	})
}
