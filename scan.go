package jsonrpc2

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// A scanner walks once over a JSON text (RFC 8259), by hand and without
// allocating. It accepts what json.Valid accepts, less invalid UTF-8 and values that
// nest deeper than maxDepth. The parts that it returns are slices of the text.
type scanner struct {
	text     []byte
	pos      int // of the next byte
	maxDepth int
	depth    int // how many objects and arrays are open
	deepest  int // the largest depth so far
}

var errSyntax = errors.New("not valid JSON")

func (s *scanner) errDepth() error {
	return fmt.Errorf("nesting exceeds the limit of %d", s.maxDepth)
}

// next skips white space and returns the byte that follows, 0 at the end (and
// for a NUL, which no grammar rule accepts either).
func (s *scanner) next() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// value skips a value and returns its bytes.
func (s *scanner) value() ([]byte, error) {
	c := s.next()
	start := s.pos
	var err error
	switch {
	case c == '"':
		_, err = s.str()
	case c == '{':
		err = s.object(func([]byte) error { _, err := s.value(); return err })
	case c == '[':
		err = s.array(func() error { _, err := s.value(); return err })
	case c == '-' || '0' <= c && c <= '9':
		err = s.number()
	case c == 't':
		err = s.literal("true")
	case c == 'f':
		err = s.literal("false")
	case c == 'n':
		err = s.literal("null")
	default:
		err = errSyntax
	}
	return s.text[start:s.pos], err
}

// object walks over an object. It calls member with each name, as it stands between the
// quotes; member has to skip the value.
func (s *scanner) object(member func(name []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.next() == '}' {
		return s.leave()
	}
	for {
		if s.next() != '"' {
			return errSyntax
		}
		name, err := s.str()
		if err != nil {
			return err
		}
		if s.next() != ':' {
			return errSyntax
		}
		s.pos++
		if err := member(name[1 : len(name)-1]); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			return s.leave()
		default:
			return errSyntax
		}
	}
}

// array walks over an array. It calls element for each element, which has to skip it.
func (s *scanner) array(element func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.next() == ']' {
		return s.leave()
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			return s.leave()
		default:
			return errSyntax
		}
	}
}

func (s *scanner) enter() error {
	s.pos++
	s.depth++
	s.deepest = max(s.deepest, s.depth)
	if s.depth > s.maxDepth {
		return s.errDepth()
	}
	return nil
}

func (s *scanner) leave() error {
	s.pos++
	s.depth--
	return nil
}

// str skips a string and returns it with its quotes.
func (s *scanner) str() ([]byte, error) {
	start := s.pos
	for i := start + 1; i < len(s.text); {
		c := s.text[i]
		switch {
		case c == '"':
			s.pos = i + 1
			return s.text[start:s.pos], nil
		case c == '\\':
			n := escapeLen(s.text[i:])
			if n == 0 {
				return nil, errSyntax
			}
			i += n
		case c < ' ':
			return nil, errSyntax
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(s.text[i:])
			if r == utf8.RuneError && n == 1 {
				return nil, errSyntax
			}
			i += n
		}
	}
	return nil, errSyntax
}

// escapeLen returns the length of the escape sequence that text begins with,
// 0 if it is none.
func escapeLen(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) >= 6 && isHex(text[2]) && isHex(text[3]) && isHex(text[4]) && isHex(text[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) literal(want string) error {
	if len(s.text)-s.pos < len(want) || string(s.text[s.pos:s.pos+len(want)]) != want {
		return errSyntax
	}
	s.pos += len(want)
	return nil
}

func (s *scanner) number() error {
	if s.text[s.pos] == '-' {
		s.pos++
	}
	switch {
	case s.pos < len(s.text) && s.text[s.pos] == '0':
		s.pos++
	case !s.digits():
		return errSyntax
	}
	if s.pos < len(s.text) && s.text[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return errSyntax
		}
	}
	if s.pos < len(s.text) && (s.text[s.pos] == 'e' || s.text[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.text) && (s.text[s.pos] == '+' || s.text[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return errSyntax
		}
	}
	return nil
}

// digits skips digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}
