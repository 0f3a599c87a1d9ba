package amqpconn

import "bytes"

// hasNotification reports whether a message is a batch in which an item may be a
// notification: an object without the member id. In doubt it reports true, as for an id
// that is written with an escape. It need not know a batch that is broken, which the
// server answers.
func hasNotification(body []byte) bool {
	if !bytes.HasPrefix(bytes.TrimLeft(body, blanks), []byte("[")) {
		return false
	}
	depth, hasID := 0, false
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			end := endOfString(body, i)
			hasID = hasID || depth == 2 && string(body[i:end]) == `"id"` && isName(body[end:])
			i = end - 1
		case '{', '[':
			if depth++; depth == 2 {
				hasID = false
			}
		case '}', ']':
			if depth == 2 && !hasID {
				return true
			}
			depth--
		}
	}
	return false
}

// blanks are the white space of JSON.
const blanks = " \t\r\n"

// endOfString returns where the string ends that begins at i.
func endOfString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// isName reports whether a string is the name of a member, by what follows.
func isName(rest []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(rest, blanks), []byte(":"))
}
