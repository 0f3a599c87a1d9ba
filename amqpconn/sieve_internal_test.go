package amqpconn

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// frame returns a frame.
func frame(kind byte, payload []byte) []byte {
	f := append([]byte{kind, 0, 1}, binary.BigEndian.AppendUint32(nil, uint32(len(payload)))...)
	return append(append(f, payload...), 0xce)
}

// properties returns a frame with a content type, headers and a delivery mode.
func properties(headers []byte) []byte {
	payload := append([]byte{0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9}, 0xb0, 0, 4, 't', 'e', 'x', 't')
	payload = binary.BigEndian.AppendUint32(payload, uint32(len(headers)))
	return frame(frameHeader, append(append(payload, headers...), 2))
}

// nested returns a table, or an array, that nests so deep.
func nested(kind byte, depth int) []byte {
	b := []byte{}
	for range depth {
		inner := append([]byte{kind}, binary.BigEndian.AppendUint32(nil, uint32(len(b)))...)
		b = append(inner, b...)
		if kind == 'F' {
			b = append([]byte{1, 'a'}, b...)
		}
	}
	if kind == 'A' && depth > 0 {
		b = append([]byte{1, 'a'}, b...)
	}
	return b
}

// Headers that the library can read stay. Headers that it can't read go, and nothing else.
func TestSieve(t *testing.T) {
	t.Parallel()
	many := append([]byte{1, 'a', 'A'}, binary.BigEndian.AppendUint32(nil, maxTableFields+1)...)
	many = append(many, bytes.Repeat([]byte{'V'}, maxTableFields+1)...)
	for name, test := range map[string]struct {
		headers []byte
		stay    bool
	}{
		"none":          {nil, true},
		"one of each":   {[]byte("\x01at\x01\x01bb\x01\x01cB\x01\x01ds\x00\x01\x01eu\x00\x01\x01fV\x01gS\x00\x00\x00\x01x\x01hx\x00\x00\x00\x01x"), true},
		"deep":          {nested('F', 32), true},
		"too deep":      {nested('F', 33), false},
		"40 deep":       {nested('F', 40), false},
		"arrays":        {nested('A', 32), true},
		"arrays 40":     {nested('A', 40), false},
		"too many":      {many, false},
		"unknown kind":  {[]byte("\x01a?"), false},
		"breaks off":    {[]byte("\x01aS\x00\x00\x00\x09x"), false},
		"name too long": {[]byte("\xffa"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			around := [][]byte{frame(1, []byte("method")), frame(3, bytes.Repeat([]byte("body"), 10_000)), frame(8, nil)}
			got, want := properties(test.headers), properties(test.headers)
			if !test.stay {
				want = properties(nil)
			}
			stream := bytes.Join([][]byte{around[0], got, around[1], got, around[2]}, nil)
			wanted := bytes.Join([][]byte{around[0], want, around[1], want, around[2]}, nil)
			for _, r := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream)), iotest.HalfReader(bytes.NewReader(stream))} {
				read, err := io.ReadAll(newSieve(r))
				require.NoError(t, err)
				require.True(t, bytes.Equal(wanted, read))
			}
			for i := range len(around[0]) + len(got) { // what breaks off is passed on
				read, err := io.ReadAll(newSieve(bytes.NewReader(stream[:i])))
				require.NoError(t, err)
				require.Equal(t, stream[:i:i], append([]byte{}, read...))
			}
		})
	}
}

func FuzzSieve(f *testing.F) {
	f.Add(properties(nested('F', 40)))
	f.Add(properties([]byte("\x01aS\x00\x00\x00\x01x")))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		read, err := io.ReadAll(newSieve(bytes.NewReader(stream)))
		require.NoError(t, err)
		require.LessOrEqual(t, len(read), len(stream))
	})
}
