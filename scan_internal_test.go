package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/fuzztest"
)

// addTexts adds texts of every kind as seeds.
func addTexts(f *testing.F) {
	for _, text := range []string{
		``, ` `, `null`, `-0.5e+7`, `"\u00e9\ud83d\ude00\\\/"`, `{}`, `[]`, `[[],{"a":[true,false,null]}]`,
		`{"jsonrpc":"2.0","id":"x-1","method":"Calc.Add","params":[1,5.1],"reply_to":"list"}`,
		`[{"jsonrpc":"2.0","id":1,"method":"a"},{"jsonrpc":"2.0","method":"b"},1]`,
		`{"jsonrpc":"2.0","id":null,"result":{}}`, `{"\u0069d":1,"id":2}`, `{"ID":1}`,
		`{"a":1,}`, `[1,]`, `{"a"}`, `[01]`, `[1.]`, `[-]`, `"` + "\xff" + `"`, `"` + "\x01" + `"`, `[1]]`, `{"a":1`,
		"nonsense\n{\"a\":1}\n", "{\"a\":1\n{\"b\":2}\n", "{}{}[]\n[]",
	} {
		f.Add([]byte(text))
	}
}

// isText reports what the scanner is to accept.
func isText(text []byte) bool { return json.Valid(text) && utf8.Valid(text) }

func FuzzScan(f *testing.F) {
	fuzztest.AddSeeds(f)
	addTexts(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.TrimPrefix(text, byteOrderMark)
		items := 0
		batch, err := scanMessage(text, headerDepth, func(e envelope) error {
			items++
			requireParts(t, text, e)
			return nil
		})
		require.Equal(t, isText(text), err == nil, "%q: %v", text, err)
		if err != nil {
			require.ErrorIs(t, err, errSyntax)
			return
		}
		var elements []json.RawMessage
		if batch {
			require.NoError(t, json.Unmarshal(text, &elements))
			require.Len(t, elements, items)
		} else {
			require.Equal(t, 1, items)
		}
	})
}

// requireParts makes sure that what an envelope has are values in text.
func requireParts(t *testing.T, text []byte, e envelope) {
	for _, part := range [][]byte{e.id, e.method, e.params, e.result, e.err, e.version, e.replyTo} {
		if part != nil {
			require.True(t, isText(part), "%q in %q", part, text)
			require.Equal(t, string(bytes.TrimSpace(part)), string(part))
		}
	}
}

func FuzzScanDepth(f *testing.F) {
	fuzztest.AddSeeds(f)
	f.Add([]byte(`[[{"a":[]}]]`), 4)
	f.Add([]byte(`{"a":"[[[["}`), 1)
	f.Fuzz(func(t *testing.T, text []byte, depth int) {
		if depth < 1 || depth > 100 || !isText(text) {
			return
		}
		_, err := scanMessage(text, depth, func(envelope) error { return nil })
		require.Equal(t, depthOf(text) <= depth, err == nil, "%q: %v", text, err)
	})
}

func depthOf(text []byte) (deepest int) {
	depth := 0
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		deepest = max(deepest, depth)
	}
}

// FuzzFrame cuts a stream into pieces: the messages found must not depend on
// where, but for how much of a broken one's line is there in time.
func FuzzFrame(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, cuts := range []string{"", "\x00", "\x01\x02\x03", "\x10"} {
		f.Add([]byte(`{"a":[1,"\"}"],"b":{}} [[]]{"c":1`+"\n"+`{"d":2}x`+"\n{}"), []byte(cuts))
		f.Add([]byte("nonsense\n{\"a\":1\n{\"b\":2}\n[1}\n{}{}"), []byte(cuts))
		f.Add([]byte("[1,\n[2,\n{\"a\":\n{}\n{}\n[\"\\\n\ufeff[]"), []byte(cuts))
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		whole := frames(stream, nil)
		pieces := frames(stream, cuts)
		require.Len(t, pieces, len(whole), "%q\n%q", whole, pieces)
		for i, message := range whole {
			require.True(t, bytes.HasPrefix(message, pieces[i]), "%q\n%q", whole, pieces)
			if !bytes.Equal(message, pieces[i]) {
				c := message[0]
				require.True(t, !isText(message) || c != '{' && c != '[', "%q was cut", message)
			}
		}
		text := bytes.Trim(stream, " \t\r\n")
		if isText(stream) && (text[0] == '{' || text[0] == '[') {
			require.Equal(t, [][]byte{text}, pieces)
		}
	})
}

// frames returns the messages in a stream that comes in pieces, as long as cuts
// says in turn; with no cuts, in one.
func frames(stream, cuts []byte) (messages [][]byte) {
	r := frameReader{limit: len(stream)}
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		n = copy(r.space(), stream[:n])
		r.extend(n)
		stream = stream[n:]
		if len(cuts) == 0 && len(stream) > 0 {
			continue // all of it first
		}
		for message, ok := r.next(); ok; message, ok = r.next() {
			messages = append(messages, bytes.Clone(message))
		}
	}
	r.atEOF = true
	for message, ok := r.next(); ok; message, ok = r.next() {
		messages = append(messages, bytes.Clone(message))
	}
	return messages
}

// FuzzErrorText has an error flattened by net/rpc on the server, sent, and
// flattened again on the client.
func FuzzErrorText(f *testing.F) {
	fuzztest.AddSeeds(f)
	f.Add(int64(404), "no such account", []byte(`{"account":7}`))
	f.Add(int64(CodeServer), "divide by zero", []byte(nil))
	f.Add(int64(CodeServer), "jsonrpc2: bad reply (JSON-RPC error 5)", []byte(`"(JSON-RPC error 5, data 1)"`))
	f.Add(int64(0), "", []byte(`no JSON`))
	f.Add(int64(0), "\xbc\xbc", []byte("\"\xff\""))
	f.Fuzz(func(t *testing.T, code int64, message string, data []byte) {
		e := &Error{Code: code, Message: message, Data: data}
		flattened := errorFromText(e.Error())
		require.Equal(t, code, flattened.Code)
		require.Equal(t, message, flattened.Message)
		require.Equal(t, e.validData(), []byte(flattened.Data))

		response := appendError(nil, jsonNull, flattened)
		require.True(t, isText(response), "%q", response)
		_, err := scanMessage(response, headerDepth, func(envelope envelope) error {
			received := errorFromText(wireError(envelope.err).Error())
			require.Equal(t, code, received.Code)
			require.Equal(t, string([]rune(message)), received.Message) // in valid UTF-8
			require.Equal(t, []byte(flattened.Data), []byte(received.Data))
			return nil
		})
		require.NoError(t, err)
	})
}

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
