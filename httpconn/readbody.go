package httpconn

import (
	"io"
	"net/http"
)

// shortBody is how long a body is taken to be by what its header says.
const shortBody = 4 << 10

// readBody reads a body to its end, or until it is longer than limit. length is
// how long it says it is, -1 if it does not: nobody can have a buffer made by
// that alone, which grows as the bytes come. took, if not nil, is told how many
// did, and may end it.
func readBody(r io.Reader, length, limit int64, took func(n int) error) ([]byte, error) {
	if r == nil || r == http.NoBody {
		return nil, nil
	}
	body := make([]byte, 0, room(0, length))
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if took != nil {
			if err := took(n); err != nil {
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

// room returns how much room a body gets when so many bytes have come. The end of
// one that is length bytes long is seen in the byte behind it.
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
