package jsonrpc2

import (
	"bytes"
	"sync"
)

// A framer finds where a JSON text ends in a stream, in whatever pieces the text comes. It
// checks the structure alone: the scanner checks the rest. A text must be an object or an
// array.
type framer struct {
	brackets []byte // those that are open
	expect   expect
}

// An expect says what may come next.
type expect byte

// A state in an escape sequence comes right behind the state of its string: scan and
// skipString count up and down between them.
const (
	expectText     expect = iota // a bracket: a text begins
	expectValue                  // a value
	expectElement                // a value, or the end of an array
	expectMember                 // a name, or the end of an object
	expectName                   // a name
	expectColon                  // a colon
	expectMore                   // a comma, or the bracket that closes the last one
	inName                       // in a string that is a name
	inNameEscape                 // behind its backslash
	inString                     // in a string that is a value
	inStringEscape               // behind its backslash
	inScalar                     // in a number or a literal
)

type frameState int

const (
	frameMore   frameState = iota // p is used up, the text goes on
	frameWhole                    // the text ends with the last byte used
	frameBroken                   // the next byte can't be in a text
)

// scan uses up bytes of p, to the end of the text if it is there.
func (f *framer) scan(p []byte) (used int, state frameState) {
	for i := 0; i < len(p); i++ {
		switch f.expect {
		case inName, inString:
			n, ok := f.skipString(p[i:])
			i += n
			if !ok {
				return i, frameBroken
			}
			continue
		case inNameEscape, inStringEscape:
			if p[i] < ' ' { // such as the newline behind a text that broke off
				return i, frameBroken
			}
			f.expect--
			continue
		}
		switch c := p[i]; c {
		case ' ', '\t', '\r', '\n':
			if f.expect == inScalar {
				f.expect = expectMore
			}
		case '{', '[':
			if !f.begin(c) {
				return i, frameBroken
			}
		case '}', ']':
			if !f.close(c) {
				return i, frameBroken
			}
			if len(f.brackets) == 0 {
				f.expect = expectText
				return i + 1, frameWhole
			}
		default:
			if !f.inside(c) {
				return i, frameBroken
			}
		}
	}
	return len(p), frameMore
}

// skipString returns the index of the byte that ends the string, of a backslash, or else of
// the last byte of p. ok is false if a byte may not be in a string; n is then its index.
func (f *framer) skipString(p []byte) (n int, ok bool) {
	for n, c := range p {
		switch {
		case c == '"':
			if f.expect == inName {
				f.expect = expectColon
			} else {
				f.expect = expectMore
			}
			return n, true
		case c == '\\':
			f.expect++
			return n, true
		case c < ' ':
			return n, false
		}
	}
	return len(p) - 1, true
}

// begin scans an opening bracket. It reports whether the bracket may stand here.
func (f *framer) begin(c byte) bool {
	switch f.expect {
	case expectText, expectValue, expectElement:
	default:
		return false
	}
	if len(f.brackets) == headerDepth { // no codec accepts more, and f.brackets must not grow for ever
		return false
	}
	f.brackets = append(f.brackets, c)
	f.expect = expectMember
	if c == '[' {
		f.expect = expectElement
	}
	return true
}

// close scans a closing bracket. It reports whether the bracket may stand here.
func (f *framer) close(c byte) bool {
	if len(f.brackets) == 0 || f.brackets[len(f.brackets)-1] != c-2 { // '{' + 2 == '}', and so with '[' and ']'
		return false
	}
	switch f.expect {
	case expectMore, inScalar:
	case expectMember:
	case expectElement:
	default:
		return false
	}
	f.brackets = f.brackets[:len(f.brackets)-1]
	f.expect = expectMore
	return true
}

// inside scans a byte that is neither space nor bracket. It reports whether the byte may
// stand here.
func (f *framer) inside(c byte) bool {
	switch f.expect {
	case expectValue, expectElement:
		switch {
		case c == '"':
			f.expect = inString
		case isScalar(c):
			f.expect = inScalar
		default:
			return false
		}
	case expectMember, expectName:
		f.expect = inName
		return c == '"'
	case expectColon:
		f.expect = expectValue
		return c == ':'
	case expectMore, inScalar:
		if c != ',' {
			return f.expect == inScalar && isScalar(c)
		}
		f.expect = expectValue
		if f.brackets[len(f.brackets)-1] == '{' {
			f.expect = expectName
		}
	default:
		return false
	}
	return true
}

func isScalar(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'E'
}

func (f *framer) reset() {
	f.brackets, f.expect = f.brackets[:0], expectText
}

// A frameReader cuts a stream into messages. A broken text is a message, too, for the
// codec to answer. After it the stream goes on with the next line. The goroutine that reads
// the stream owns it.
type frameReader struct {
	framer  framer
	store   *readBuffer // the buffer that buf is a part of; nil: none is needed yet
	spare   *sync.Pool  // of buffers, which lie there while nothing comes; nil: store is kept
	buf     []byte      // what was read and not cut off yet
	scanned int         // bytes of buf that the framer has seen since its last reset
	retried int         // bytes of buf that it had seen before, in a broken text
	limit   int         // of a message
	skip    skip
	atEOF   bool // nothing more comes: a text that is not whole is broken
}

// A readBuffer is a buffer that many streams may use in turn.
type readBuffer struct{ b []byte }

type skip int

const (
	skipNothing skip = iota
	skipLine         // to the next newline: the text was broken
	skipText         // to the end of the text: it was too long
)

const (
	minRead        = 4 << 10  // bytes of space for a read, at least
	maxKeptReading = 64 << 10 // bytes of a buffer that is kept when it is empty
)

// next cuts off the next message. Its bytes are valid until more is read. ok is false if
// more has to be read first.
//
//	skipBlanks   to where a text begins
//	framer.scan  to its end, or as far as it is there
//	frame        cut off what is whole, broken or too long
//	  brokenEnd    find where a broken text ends
func (r *frameReader) next() (message []byte, ok bool) {
	for len(r.buf) > 0 {
		switch r.skip {
		case skipLine:
			end := bytes.IndexByte(r.buf, '\n')
			if end < 0 {
				r.buf = r.buf[:0]
				return nil, false
			}
			r.cut(end + 1)
			r.skip = skipNothing
			continue
		case skipNothing:
			if r.scanned == 0 && !r.skipBlanks() {
				return nil, false
			}
		}
		n, state := r.framer.scan(r.buf[r.scanned:])
		r.scanned += n
		if r.atEOF && state == frameMore {
			state = frameBroken
		}
		message, ok = r.frame(state)
		if ok || state == frameMore {
			return message, ok
		}
	}
	return nil, false
}

// byteOrderMark may stand before a text (RFC 8259, section 8.1).
var byteOrderMark = []byte("\ufeff")

// skipBlanks skips white space and byte order marks before a text, and reports whether a text
// begins.
func (r *frameReader) skipBlanks() bool {
	for {
		r.cut(len(r.buf) - len(bytes.TrimLeft(r.buf, " \t\r\n")))
		switch {
		case bytes.HasPrefix(r.buf, byteOrderMark):
			r.cut(len(byteOrderMark))
		case bytes.HasPrefix(byteOrderMark, r.buf): // a part of it, or nothing
			return r.atEOF && len(r.buf) > 0
		default:
			return true
		}
	}
}

// frame cuts off a message that is whole, broken or too long. ok reports whether there is a
// message. The rest of one that is too long is skipped, and is no message.
func (r *frameReader) frame(state frameState) (message []byte, ok bool) {
	skipped := r.skip == skipText
	switch state {
	case frameWhole:
		r.skip = skipNothing
		message = r.cut(r.scanned)
	case frameBroken:
		var end int
		end, r.skip = r.brokenEnd()
		r.retried = max(r.retried, r.scanned)
		message = r.cut(end)
		r.scanned = 0
		r.framer.reset()
	case frameMore:
		if !skipped && r.scanned <= r.limit {
			return nil, false
		}
		r.skip = skipText
		message = r.cut(r.scanned)
	}
	return message, !skipped
}

// brokenEnd returns where the text ends that is broken at scanned, and what is to be
// skipped behind it.
//
// Many peers send one text in each line. If a line breaks off, its brackets stay open, and
// the framer takes the next lines for a part of the same text. So the broken text ends at
// the first line that begins with a bracket, since that may begin a text. The framer then
// scans the bytes from there on again. It does so only if it got at least twice as far as it
// had got before: otherwise it would scan a stream of brackets again for each bracket.
//
// Otherwise the text ends before the line of the broken byte, if that line begins with that
// byte and it is an opening bracket. Else it ends with that line, and what is still to come
// of the line is skipped.
func (r *frameReader) brokenEnd() (end int, skip skip) {
	seen := r.buf[:min(r.scanned+1, len(r.buf))]
	if r.scanned >= 2*r.retried {
		for _, line := range [...]string{"\n{", "\n["} {
			if at := bytes.Index(seen, []byte(line)); at >= 0 && (end == 0 || at < end) {
				end = at + 1
			}
		}
		if end > 0 {
			return end, skipNothing
		}
	}
	rest := r.buf[r.scanned:]
	line := bytes.LastIndexByte(r.buf[:r.scanned], '\n') + 1
	bracket := len(rest) > 0 && (rest[0] == '{' || rest[0] == '[')
	if line > 0 && bracket && len(bytes.TrimSpace(r.buf[line:r.scanned])) == 0 {
		return line, skipNothing
	}
	if newline := bytes.IndexByte(rest, '\n'); newline >= 0 {
		return r.scanned + newline, skipLine
	}
	return len(r.buf), skipLine
}

func (r *frameReader) cut(n int) []byte {
	cut := r.buf[:n:n]
	r.buf = r.buf[n:]
	r.scanned, r.retried = max(0, r.scanned-n), max(0, r.retried-n)
	return cut
}

// space returns where to read to, right behind buf: at least minRead bytes. It may overwrite
// what was cut off.
func (r *frameReader) space() []byte {
	if r.store == nil {
		r.store = r.newBuffer()
	}
	if len(r.buf) == 0 {
		if cap(r.store.b) > maxKeptReading {
			r.store.b = nil
		}
		r.buf = r.store.b[:0]
	}
	if cap(r.buf)-len(r.buf) < minRead {
		if need := 2*len(r.buf) + minRead; cap(r.store.b) < need {
			r.store.b = make([]byte, 0, 2*need)
		}
		r.buf = append(r.store.b[:0], r.buf...)
	}
	return r.buf[len(r.buf):cap(r.buf)]
}

func (r *frameReader) newBuffer() *readBuffer {
	if r.spare != nil {
		if b, ok := r.spare.Get().(*readBuffer); ok {
			return b
		}
	}
	return new(readBuffer)
}

// rest implements readSpace: nothing comes at the moment. It gives an empty buffer back.
func (r *frameReader) rest() {
	if r.spare == nil || r.store == nil || len(r.buf) > 0 {
		return
	}
	if cap(r.store.b) > maxKeptReading {
		r.store.b = nil
	}
	r.spare.Put(r.store)
	r.store, r.buf = nil, nil
}

// extend adds the n bytes that were read to the space.
func (r *frameReader) extend(n int) {
	r.buf = r.buf[:len(r.buf)+n]
}
