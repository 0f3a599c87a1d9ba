package httpconn

import (
	"io"
	"net/http"
)

// shortBody is how many bytes a buffer has at first, at most.
const shortBody = 4 << 10

// readBody reads a body to its end, or until it is longer than limit. length is its length
// by the header, -1 if the header does not say. The buffer grows as the bytes come, so that
// a header alone takes no memory. readBody calls reserve, if it is not nil, with the number
// of bytes of each read. An error of reserve ends the reading.
func readBody(r io.Reader, length, limit int64, reserve func(n int) error) ([]byte, error) {
	if r == nil || r == http.NoBody {
		return nil, nil
	}
	body := make([]byte, 0, room(0, length))
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if reserve != nil {
			if err := reserve(n); err != nil {
				return nil, err
			}
		}
		switch {
		case err == io.EOF && int64(len(body)) < length:
			return body, io.ErrUnexpectedEOF
		case err == io.EOF || err == nil && int64(len(body)) > limit:
			return body, nil
		case err != nil:
			return body, err
		}
		if len(body) == cap(body) {
			body = append(make([]byte, 0, room(len(body), length)), body...)
		}
	}
}

// room returns the size of the buffer for a body of which so many bytes have come: twice as
// many, but not much more than length. The buffer has one byte more than length, since only
// a read after the last byte shows the end of the body.
func room(came int, length int64) int {
	more := 2 * came
	if came == 0 {
		more = shortBody
	}
	if int64(came) <= length && length < int64(more) {
		return int(length) + 1
	}
	return more
}
