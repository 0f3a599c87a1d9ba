package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

// A store is the data of a Redis, and the commands on it. A reply is nil, an int64, a
// string, a []any of these, or an error.
type store struct {
	entries []*entry      // so few that a search is fast
	rng     *rand.Rand    // orders the fields of hashes
	now     time.Duration // virtual time, by which keys expire
	time    time.Duration // what TIME tells
	rows    string        // the key workers, which holds no requests
	changed bool          // a key other than rows has changed; compare resets it
}

type kind int

const (
	isList kind = iota
	isHash
	isString
)

type entry struct {
	key     string
	kind    kind
	list    []string
	fields  []field
	expires time.Duration // 0: it does not
}

type field struct{ name, value string }

var errWrongType = errors.New("WRONGTYPE Operation against a key holding the wrong kind of value")

// copy returns a deep copy of the entries.
func (s *store) copy() []*entry {
	entries := make([]*entry, len(s.entries))
	for i, e := range s.entries {
		c := *e
		c.list, c.fields = slices.Clone(e.list), slices.Clone(e.fields)
		entries[i] = &c
	}
	return entries
}

// find returns a key's entry, nil if there is none or it has expired.
func (s *store) find(key string) *entry {
	for i, e := range s.entries {
		if e.key != key {
			continue
		}
		if e.expires != 0 && e.expires <= s.now {
			s.entries = slices.Delete(s.entries, i, i+1)
			return nil
		}
		return e
	}
	return nil
}

// open returns a key's entry. If there is none, it makes one.
func (s *store) open(key string, k kind) *entry {
	e := s.find(key)
	if e == nil {
		e = &entry{key: key, kind: k}
		s.entries = append(s.entries, e)
	}
	return e
}

// wrote notes that an entry has changed. Like Redis, it removes an empty one.
func (s *store) wrote(e *entry) {
	if e.key != s.rows {
		s.changed = true
	}
	if e.kind != isString && len(e.list) == 0 && len(e.fields) == 0 {
		s.entries = slices.DeleteFunc(s.entries, func(other *entry) bool { return other == e })
	}
}

func (s *store) list(key string) []string {
	if e := s.find(key); e != nil {
		return e.list
	}
	return nil
}

// hash returns the fields of a hash.
func (s *store) hash(key string) []field {
	if e := s.find(key); e != nil {
		return e.fields
	}
	return nil
}

func get(fields []field, name string) (string, bool) {
	for _, f := range fields {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

// do executes a command. It has the commands that the scripts, the servers and the clients use.
func (s *store) do(args []string) any {
	switch name := args[0]; name {
	case "TIME":
		return []any{strconv.FormatInt(int64(s.time/time.Second), 10), strconv.FormatInt(int64(s.time%time.Second/time.Microsecond), 10)}
	case "DEL":
		return s.del(args[1:])
	case "PTTL", "PEXPIRE":
		return s.expiry(args)
	case "MEMORY":
		return s.usage(args[2])
	case "SET":
		s.open(args[1], isString)
		return "OK"
	default:
		if e := s.find(args[1]); e != nil && e.kind != kindOf(name) {
			return errWrongType
		}
		if name[0] == 'H' {
			return s.doHash(args)
		}
		return s.doList(args)
	}
}

// kindOf returns the kind of key that a command is for.
func kindOf(name string) kind {
	if name[0] == 'H' {
		return isHash
	}
	return isList
}

func (s *store) del(keys []string) any {
	var n int64
	for _, key := range keys {
		if e := s.find(key); e != nil {
			e.list, e.fields, e.kind = nil, nil, isList
			s.wrote(e)
			n++
		}
	}
	return n
}

// usage returns how much memory a list takes. That is more than its values have bytes.
func (s *store) usage(key string) int64 {
	var n int64
	for _, value := range s.list(key) {
		n += int64(len(value)) + 16
	}
	return n
}

func (s *store) expiry(args []string) any {
	e := s.find(args[1])
	if args[0] == "PTTL" {
		switch {
		case e == nil:
			return int64(-2)
		case e.expires == 0:
			return int64(-1)
		}
		return int64((e.expires - s.now) / time.Millisecond)
	}
	if e == nil {
		return int64(0)
	}
	e.expires = s.now + time.Duration(number(args[2]))*time.Millisecond
	return int64(1)
}

func (s *store) doHash(args []string) any {
	fields := s.hash(args[1])
	switch args[0] {
	case "HGET":
		return valueOf(fields, args[2])
	case "HMGET":
		all := make([]any, len(args)-2)
		for i, name := range args[2:] {
			all[i] = valueOf(fields, name)
		}
		return all
	case "HEXISTS":
		_, ok := get(fields, args[2])
		return one(ok)
	case "HLEN":
		return int64(len(fields))
	case "HKEYS", "HGETALL":
		return s.listing(fields, args[0] == "HGETALL")
	case "HSET":
		return s.hset(args[1], args[2:])
	case "HDEL":
		return s.hdel(args[1], args[2:])
	}
	panic("the simulator's Redis has no " + args[0])
}

func valueOf(fields []field, name string) any {
	if value, ok := get(fields, name); ok {
		return value
	}
	return nil
}

func one(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// listing returns fields in a random order, since a real hash has no order.
func (s *store) listing(fields []field, values bool) any {
	all := make([]any, 0, 2*len(fields))
	if len(fields) > 1 {
		fields = slices.Clone(fields)
		s.rng.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	}
	for _, f := range fields {
		all = append(all, f.name)
		if values {
			all = append(all, f.value)
		}
	}
	return all
}

func (s *store) hset(key string, pairs []string) any {
	e := s.open(key, isHash)
	var added int64
	for ; len(pairs) >= 2; pairs = pairs[2:] {
		i := slices.IndexFunc(e.fields, func(f field) bool { return f.name == pairs[0] })
		if i >= 0 {
			e.fields[i].value = pairs[1]
			continue
		}
		e.fields = append(e.fields, field{pairs[0], pairs[1]})
		added++
	}
	s.wrote(e)
	return added
}

func (s *store) hdel(key string, names []string) any {
	e := s.find(key)
	if e == nil {
		return int64(0)
	}
	var removed int64
	for _, name := range names {
		i := slices.IndexFunc(e.fields, func(f field) bool { return f.name == name })
		if i >= 0 {
			e.fields = slices.Delete(e.fields, i, i+1)
			removed++
		}
	}
	if removed > 0 {
		s.wrote(e)
	}
	return removed
}

func (s *store) doList(args []string) any {
	key := args[1]
	switch args[0] {
	case "LLEN":
		return int64(len(s.list(key)))
	case "LPUSH", "RPUSH":
		e := s.open(key, isList)
		for _, value := range args[2:] {
			if args[0] == "LPUSH" {
				e.list = slices.Insert(e.list, 0, value)
			} else {
				e.list = append(e.list, value)
			}
		}
		s.wrote(e)
		return int64(len(e.list))
	case "LPOP", "RPOP":
		if len(args) > 2 {
			return s.popMany(key, args[0] == "LPOP", number(args[2]))
		}
		return s.pop(key, args[0] == "LPOP")
	case "LREM": // with the count 1: the first value that is equal
		e := s.find(key)
		if e == nil {
			return int64(0)
		}
		i := slices.Index(e.list, args[3])
		if i < 0 {
			return int64(0)
		}
		e.list = slices.Delete(e.list, i, i+1)
		s.wrote(e)
		return int64(1)
	case "LMOVE": // from the right to the left
		value := s.pop(key, false)
		if value != nil {
			s.do([]string{"LPUSH", args[2], value.(string)})
		}
		return value
	}
	panic("the simulator's Redis has no " + args[0])
}

func (s *store) pop(key string, left bool) any {
	e := s.find(key)
	if e == nil {
		return nil
	}
	i := len(e.list) - 1
	if left {
		i = 0
	}
	value := e.list[i]
	e.list = slices.Delete(e.list, i, i+1)
	s.wrote(e)
	return value
}

func (s *store) popMany(key string, left bool, n int64) any {
	var popped []any
	for range n {
		value := s.pop(key, left)
		if value == nil {
			break
		}
		popped = append(popped, value)
	}
	if popped == nil {
		return nil
	}
	return popped
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%q is no number", text))
	}
	return n
}
