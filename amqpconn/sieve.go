package amqpconn

import (
	"bufio"
	"encoding/binary"
	"io"
)

// A sieve reads AMQP frames, and takes out the headers of a message if the library can't
// read them. The library would close the connection. The broker would then deliver the
// message again on the next one, and so on for ever.
//
// The frames are those of AMQP 0-9-1, section 4.2. A frame is a head, the payload and an
// end byte. A frame with a message's properties has this payload: class (2 bytes), weight
// (2), size of the body (8), flags (2), and the properties that the flags name.
type sieve struct {
	frames *bufio.Reader
	ready  []byte // a whole frame that was sifted, or what is left of it
	rest   int64  // bytes of the current frame that are still in frames
}

const (
	frameHead     = 7         // bytes of kind (1), channel (2) and size of the payload (4)
	frameHeader   = 2         // the kind of frame that has a message's properties
	maxProperties = 256 << 10 // a longer frame is not sifted: it would have to be held whole
)

func newSieve(r io.Reader) *sieve { return &sieve{frames: bufio.NewReaderSize(r, 16<<10)} }

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var read int
		read, err = s.next(p[n:])
		n += read
		if n > 0 && s.frames.Buffered() < frameHead && len(s.ready) == 0 {
			break // the next frame may not have come yet
		}
	}
	if n > 0 {
		err = nil // the next Read returns it
	}
	return n, err
}

// next reads a part of one frame.
func (s *sieve) next(p []byte) (n int, err error) {
	if len(s.ready) == 0 && s.rest == 0 {
		if err := s.begin(); err != nil {
			return 0, err
		}
	}
	if len(s.ready) > 0 {
		n = copy(p, s.ready)
		s.ready = s.ready[n:]
		return n, nil
	}
	n, err = s.frames.Read(p[:min(int64(len(p)), s.rest)])
	s.rest -= int64(n)
	return n, err
}

// begin prepares the next frame: a frame that may need it is sifted, any other one is read
// as it comes.
func (s *sieve) begin() error {
	head, err := s.frames.Peek(frameHead)
	if err != nil && len(head) == 0 {
		return err
	}
	if err != nil { // the library reports a frame that breaks off
		s.rest = int64(len(head))
		return nil
	}
	size := int64(binary.BigEndian.Uint32(head[3:]))
	if head[0] != frameHeader || size > maxProperties || size < flagsAt+2-frameHead || !s.hasHeaders() {
		s.rest = frameHead + size + 1
		return nil
	}
	frame := make([]byte, frameHead+size+1)
	n, err := io.ReadFull(s.frames, frame)
	if err == nil {
		frame = sift(frame)
		n = len(frame)
	}
	s.ready = frame[:n]
	return nil
}

// hasHeaders reports whether the next frame, which has a message's properties, has headers
// among them. The next read returns the error, if there is one.
func (s *sieve) hasHeaders() bool {
	start, err := s.frames.Peek(flagsAt + 2)
	return err == nil && binary.BigEndian.Uint16(start[flagsAt:])&headers != 0
}

// A frame has flags that say which properties follow. These are the first three, in the
// order in which they follow. The first two are short strings: a byte for the length, and
// so many bytes.
const (
	flagsAt         = frameHead + 12 // where the flags are in a frame
	contentType     = 1 << 15
	contentEncoding = 1 << 14
	headers         = 1 << 13
)

// sift returns a frame with a message's properties. If the library can't read the headers
// in it, sift returns one with empty headers instead.
func sift(frame []byte) []byte {
	if len(frame) < flagsAt+3 {
		return frame
	}
	flags := binary.BigEndian.Uint16(frame[flagsAt:])
	at := flagsAt + 2
	for _, property := range []uint16{contentType, contentEncoding} {
		if flags&property != 0 {
			at += 1 + int(frame[min(at, len(frame)-1)])
		}
	}
	if flags&headers == 0 || at+4 > len(frame) {
		return frame
	}
	end := at + 4 + int(binary.BigEndian.Uint32(frame[at:]))
	if end >= len(frame) || end < at || isTable(frame[at+4:end], 0) {
		return frame
	}
	none := binary.BigEndian.AppendUint32(append([]byte(nil), frame[:at]...), 0)
	sifted := append(none, frame[end:]...)
	binary.BigEndian.PutUint32(sifted[3:], uint32(len(sifted)-frameHead-1))
	return sifted
}

// The library's limits for a table, and for an array.
const (
	maxTableDepth  = 32
	maxTableFields = 8192
)

// isTable reports whether the library can read b as the fields of a table. depth is how many
// tables and arrays are around it.
func isTable(b []byte, depth int) bool {
	for fields := 0; len(b) > 0; fields++ {
		name := 1 + int(b[0])
		if fields == maxTableFields || name > len(b) {
			return false
		}
		size := fieldSize(b[name:], depth)
		if size < 0 {
			return false
		}
		b = b[name+size:]
	}
	return depth <= maxTableDepth
}

// isArray reports whether the library can read b as the fields of an array.
func isArray(b []byte, depth int) bool {
	for fields := 0; len(b) > 0; fields++ {
		size := fieldSize(b, depth)
		if fields == maxTableFields || size < 0 {
			return false
		}
		b = b[size:]
	}
	return depth <= maxTableDepth
}

// fixedSizes are the sizes of the fields by their kind, of the kinds that have only one.
var fixedSizes = map[byte]int{
	't': 1, 'b': 1, 'B': 1, 's': 2, 'u': 2, 'I': 4, 'i': 4, 'l': 8, 'f': 4, 'd': 8, 'D': 5, 'T': 8, 'V': 0,
}

// fieldSize returns the length of the first field in b, with the byte for its kind, or -1 if
// the library can't read the field.
func fieldSize(b []byte, depth int) int {
	if len(b) == 0 {
		return -1
	}
	kind := b[0]
	if size, ok := fixedSizes[kind]; ok {
		if 1+size > len(b) {
			return -1
		}
		return 1 + size
	}
	if len(b) < 5 {
		return -1
	}
	size := int64(binary.BigEndian.Uint32(b[1:]))
	if 5+size > int64(len(b)) {
		return -1
	}
	value := b[5 : 5+size]
	switch {
	case kind == 'S' || kind == 'x':
	case kind == 'F' && depth < maxTableDepth && isTable(value, depth+1):
	case kind == 'A' && depth < maxTableDepth && isArray(value, depth+1):
	default:
		return -1
	}
	return 5 + int(size)
}
