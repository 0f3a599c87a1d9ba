package jsonrpc2

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxNames bounds the table of names, which strangers could fill.
const maxNames = 1024

// reserved begins the names that the specification reserves for extensions (section 4).
const reserved = "rpc."

// goName maps a method's name on the wire, quoted, to one of net/rpc's. It reports whether
// net/rpc is known to know that.
func (c *serverCodec) goName(quoted []byte) (name string, known bool) {
	if name, known = c.in.names[string(quoted)]; known {
		return name, true
	}
	name = unquote(quoted)
	extension, isReserved := strings.CutPrefix(name, reserved)
	switch {
	case isReserved:
		return reserved + raised(extension), false
	case c.opts.Name != nil:
		return c.opts.Name(name), false
	case c.opts.Service == "" || strings.Contains(name, "."):
		return name, false
	}
	return c.opts.Service + "." + raised(name), false
}

// raised returns a name with its first letter in upper case, as net/rpc wants methods.
func raised(name string) string {
	first, n := utf8.DecodeRuneInString(name)
	return string(unicode.ToUpper(first)) + name[n:]
}

// learn notes that net/rpc knows the method of the current call.
func (c *serverCodec) learn() {
	name, _ := c.goName(c.in.method)
	if len(c.in.names) < maxNames {
		c.in.names[string(c.in.method)] = name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in.call.method = name
}

func (c *serverCodec) notFound(method string) *Error {
	hint := ""
	if c.opts.Service == "" && c.opts.Name == nil && !strings.Contains(method, ".") {
		hint = " (the server has no Service for names without a dot)"
	}
	return errorf(CodeMethodNotFound, "method not found: %.100s%s", method, hint)
}

// wireName maps a method's name in Go to that on the wire.
func (c *clientCodec) wireName(method string) string {
	name, ok := c.names[method]
	if ok {
		return name
	}
	switch bare, ok := strings.CutPrefix(method, c.opts.Service+"."); {
	case strings.HasPrefix(method, reserved):
		name = method
	case c.opts.Name != nil:
		name = c.opts.Name(method)
	case ok && c.opts.Service != "" && !strings.Contains(bare, "."):
		first, n := utf8.DecodeRuneInString(bare)
		name = string(unicode.ToLower(first)) + bare[n:]
	default:
		name = method
	}
	if len(c.names) < maxNames {
		c.names[method] = name
	}
	return name
}
