package jsonrpc2

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What broke off is scanned again for the texts in it, but not again and again:
// lines of brackets would take hours.
func TestBrokenTextIsNotScannedForEver(t *testing.T) {
	for name, stream := range map[string]string{
		"brackets":      strings.Repeat("[\n", 1<<20),
		"braces":        strings.Repeat("[\n{\"a\":\n", 1<<18),
		"broken values": strings.Repeat("[1,\n", 1<<19) + "x\n",
		"no brackets":   "[\n" + strings.Repeat("1,\n", 1<<19) + "x\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := frameReader{limit: len(stream)}
			scanned := 0
			for rest := []byte(stream); len(rest) > 0; {
				n := copy(r.space(), rest)
				r.extend(n)
				rest = rest[n:]
				for message, ok := r.next(); ok; message, ok = r.next() {
					scanned += len(message) + r.retried
				}
			}
			require.LessOrEqual(t, scanned, 3*len(stream))
		})
	}
}
