package redisconn

import (
	"strconv"
	"strings"
)

// ownPrefix returns what the names of a queue's own keys begin with. The keys lie in the
// queue's slot of a Cluster, by one of three hash tags:
//
//	{shop}calc  {shop}calc:      the queue's own tag
//	calc        {calc}:          a tag made of the name
//	{calc}      {N}{calc}:       the number N, which lies in the queue's slot: the keys of
//	            {calc} would be those of calc
//	a}b         {N}a}b:          the same: {a}b}: would have the tag a
func ownPrefix(queue string) string {
	switch tag := hashTag(queue); {
	case tag != "" && queue != "{"+tag+"}":
		return queue + ":"
	case tag == "" && !strings.Contains(queue, "}"):
		return "{" + queue + "}:"
	}
	return "{" + tagOfSlot(slotOf(queue)) + "}" + queue + ":"
}

// serversKey returns the name of the sorted set of a queue's servers.
func serversKey(queue string) string { return ownPrefix(queue) + "servers" }

// ownKeys are the ends of the names of our own keys. A key that each server has for itself
// ends in a name of the server: ownFamilies stand before that.
var (
	ownKeys     = []string{":dead", ":ready", ":suspects", ":workers", ":servers"}
	ownFamilies = []string{":wake:", ":held:"}
)

// isOwnKey reports whether a name is that of a key of ours, of any queue. Answers must not be
// pushed onto such a key.
func isOwnKey(name string) bool {
	_, rest, ok := cutHashTag(name)
	if !ok {
		return false
	}
	for _, end := range ownKeys {
		if strings.HasSuffix(rest, end) {
			return true
		}
	}
	for _, part := range ownFamilies {
		if strings.Contains(rest, part) {
			return true
		}
	}
	return false
}

// hashTag returns the part of a key's name that says in which slot of a Cluster it
// lies, "" if all of it does.
func hashTag(key string) string {
	tag, _, _ := cutHashTag(key)
	return tag
}

// cutHashTag returns the hash tag of a key, and what follows it. ok is false if there is no
// tag: as in Redis, the first opening brace counts, and an empty tag is none.
func cutHashTag(key string) (tag, rest string, ok bool) {
	_, after, _ := strings.Cut(key, "{")
	tag, rest, ok = strings.Cut(after, "}")
	if tag == "" || !ok {
		return "", "", false
	}
	return tag, rest, true
}

// slots is how many slots a Cluster has.
const slots = 16384

// slotOf returns the slot in which a key lies.
func slotOf(key string) uint16 {
	if tag := hashTag(key); tag != "" {
		key = tag
	}
	return crc16(key) % slots
}

// crc16 is the CRC-16 that Redis uses, XMODEM's.
func crc16(s string) (crc uint16) {
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			carry := crc & 0x8000
			crc <<= 1
			if carry != 0 {
				crc ^= 0x1021
			}
		}
	}
	return crc
}

// tagOfSlot returns the lowest number that lies in a slot. Each slot has one below a
// million.
func tagOfSlot(slot uint16) string {
	for n := 0; ; n++ {
		if tag := strconv.Itoa(n); slotOf(tag) == slot {
			return tag
		}
	}
}
