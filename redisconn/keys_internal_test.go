package redisconn

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// oddNames are names of queues that are hard on hash tags.
var oddNames = []string{
	"calc", "a}b", "{}", "{}a", "a{b", "a{}b", "}{", "{a}b{c}", "{", "}", "}}", "{{}}", "{{a}}", "a b", " ", "}a b{",
	"{}{a}", "a}{b}", "{calc}", "é}", "{1}", "\x00}",
}

// Our own keys lie in their queue's slot, whatever the queue's name. Otherwise a Cluster refuses to
// pop from the queue and a key of ours at once. Formerly those of a queue named a}b did not.
func TestOwnKeysLieInTheQueuesSlot(t *testing.T) {
	names := oddNames
	for range 2000 {
		var b strings.Builder
		for range 1 + rand.N(8) {
			b.WriteByte("{}{}ab: "[rand.N(8)])
		}
		names = append(names, b.String())
	}
	prefixes := make(map[string]string)
	for _, name := range names {
		prefix := ownPrefix(name)
		require.Equal(t, slotOf(name), slotOf(prefix+"wake:1"), "%q: %q", name, prefix)
		for _, key := range []string{"wake:1", "workers", "dead", "ready", "suspects", "held:1", "servers"} {
			require.True(t, isOwnKey(prefix+key), "%q of %q", prefix+key, name)
		}
		if other, ok := prefixes[prefix]; ok {
			require.Equal(t, other, name, "two queues have the keys %q", prefix)
		}
		prefixes[prefix] = name
	}
}

func TestSlotOf(t *testing.T) {
	for key, slot := range map[string]uint16{ // as CLUSTER KEYSLOT tells
		"123456789": 0x31c3, "foo": 12182, "{foo}bar": 12182, "{}foo": 9500, "": 0,
	} {
		require.Equal(t, slot, slotOf(key), key)
	}
	for slot := range uint16(slots) {
		if slot%100 == 0 {
			require.Equal(t, slot, slotOf(tagOfSlot(slot)))
		}
	}
}

func TestIsOwnKey(t *testing.T) {
	for _, name := range []string{"calc", "dead", "calc:dead", "jsonrpc2:reply:{calc}:1", "{}:dead", "{calc}", "{calc}:deadline", "a:wake:1", "9f86d081"} {
		require.False(t, isOwnKey(name), name)
	}
}
