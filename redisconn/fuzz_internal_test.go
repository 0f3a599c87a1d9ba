package redisconn

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/fuzztest"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// FuzzReplyList makes a message of anything that a stranger may push onto the
// queue: it is as it was, and its answer goes onto a list that is not our own
// and that the options allow, or nowhere.
func FuzzReplyList(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, text := range []string{
		``, "\x00", "\xff", `null`, `[]`, `[[]]`, strings.Repeat(`[`, 1000), `{"id":"x"`, `{"id":"` + strings.Repeat("x", 256) + `"}`,
		`{"jsonrpc":"2.0","id":1,"method":"add","reply_to":"there"}`,
		`{"jsonrpc":"2.0","id":"here","method":"add","reply_to":7}`,
		`{"jsonrpc":"2.0","id":"calc","method":"add"}`,
		`{"jsonrpc":"2.0","id":"1","method":"add","reply_to":"ca\u006cc"}`,
		`{"jsonrpc":"2.0","id":"1","method":"add","reply_to":"{calc}:wake:1"}`,
		`{"jsonrpc":"2.0","id":"1","method":"add","reply_to":"calc","reply_to":"there"}`,
		`{"jsonrpc":"2.0","method":"add","reply_to":"there"}`,
		`{"jsonrpc":"2.0","id":"calc","result":1}`,
		`[{"jsonrpc":"2.0","id":1,"method":"add"},{"id":"calc","method":"x"}]`,
	} {
		f.Add(text, "", "calc")
		f.Add(text, "us:", "{a}b")
	}
	f.Fuzz(func(t *testing.T, request, prefix, queue string) {
		s := newServerConn(nil, queue, ListenOptions{ReplyPrefix: prefix, Logger: slog.New(slog.DiscardHandler)})
		s.places = link.NewPlaces(1)
		s.places.Take(1)
		d := s.deliverer.deliver(delivery{body: request})
		require.Equal(t, request, string(d.Body))
		var header jsonrpc2.Header
		header.Scan([]byte(request))
		answer := []byte("answer")
		if d.Err != nil {
			require.True(t, header.WantsAnswer(), "nobody waits, and yet it is not run")
			require.EqualValues(t, 1, s.noAddress.Load()+s.refused.Load())
			require.True(t, utf8.ValidString(d.Err.Error()))
			answer = nil
		}
		err := d.Reply(answer)
		sent, _ := s.replier.only.outbox.Take(nil)
		if d.Err != nil || err != nil {
			require.Empty(t, sent)
			require.Equal(t, 1, s.places.Wait(nil), "its place is free")
			return
		}
		require.Len(t, sent, 1)
		list := sent[0].list
		require.True(t, list == header.ReplyTo() || header.ReplyTo() == "" && list == header.ID())
		require.NotEmpty(t, list)
		require.LessOrEqual(t, len(list), 255)
		require.NotEqual(t, queue, list)
		require.False(t, strings.HasPrefix(list, ownPrefix(queue)), list)
		require.True(t, strings.HasPrefix(list, prefix), list)
	})
}

// FuzzAppendRequest adds a reply list and a deadline to any message that begins
// with an object, as those of a codec do: it stays the same message, to be
// answered there and by then.
func FuzzAppendRequest(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, text := range []string{
		`{"jsonrpc":"2.0","id":"x-1","method":"add","params":[1,5.1]}`, `{"a":{}}`, `{}`, ` { } `, `[{"id":"a"},{"id":"b"}]`,
		`[{}]`, `[1,{"id":"x"}]`, `[]`, `"{"`, `{"id":`, ``, `{"reply_to":"elsewhere","id":"x"}`, `{"id":1,"id":2}`, "\x00{",
	} {
		f.Add([]byte(text), "jsonrpc2:reply:1", int64(0))
		f.Add([]byte(text), "\"\\\x00\u2028", int64(1))
		f.Add([]byte(text), "", int64(1732300000123))
	}
	f.Fuzz(func(t *testing.T, body []byte, list string, deadline int64) {
		before := bytes.Clone(body)
		r := request{Request: &jsonrpc2.Request{Body: body}, list: list, deadlineMS: max(deadline, 0)}
		got := r.appendTo(nil)
		require.Equal(t, before, body)
		var header, after jsonrpc2.Header
		header.Scan(body)
		if list == "" || r.deadlineMS == 0 || header.Err() != nil || !beginsWithObject(body) {
			return
		}
		after.Scan(got)
		require.NoError(t, after.Err(), "%q", got)
		require.Equal(t, header.ID(), after.ID())
		require.Equal(t, header.WantsAnswer(), after.WantsAnswer())

		require.Equal(t, r.deadlineMS, after.Deadline())

		was, is := objects(t, body), objects(t, got)
		require.Len(t, is, len(was))
		require.Equal(t, string([]rune(list)), after.ReplyTo()) // in valid UTF-8
		for i := range was {
			for _, member := range []string{"reply_to", "deadline_ms"} {
				delete(was[i], member)
				if i == 0 {
					delete(is[i], member)
				}
			}
			require.Equal(t, was[i], is[i])
		}
	})
}

func beginsWithObject(text []byte) bool {
	text, _ = bytes.CutPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("["))
	return bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
}

// objects decodes the items of a message, nil for those that are no objects.
func objects(t *testing.T, text []byte) (items []map[string]json.RawMessage) {
	var elements []json.RawMessage
	if text = bytes.TrimSpace(text); text[0] == '[' {
		require.NoError(t, json.Unmarshal(text, &elements))
	} else {
		elements = []json.RawMessage{text}
	}
	for _, element := range elements {
		var item map[string]json.RawMessage
		if bytes.HasPrefix(bytes.TrimSpace(element), []byte("{")) {
			require.NoError(t, json.Unmarshal(element, &item))
		}
		items = append(items, item)
	}
	return items
}
