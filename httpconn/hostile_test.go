package httpconn_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A POST has one answer: a call that is not in it fails then, also one without a deadline.
func TestAnswerToNoCall(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another id":    `{"jsonrpc":"2.0","id":"another","result":1}`,
		"number id":     `{"jsonrpc":"2.0","id":0,"result":1}`,
		"no id":         `{"jsonrpc":"2.0","result":1}`,
		"request":       `{"jsonrpc":"2.0","id":1,"method":"add"}`,
		"empty batch":   `[]`,
		"batch of junk": `[1,[{"jsonrpc":"2.0"}],"x"]`,
		"odd error":     `{"jsonrpc":"2.0","id":null,"error":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, body("application/json", text))
			client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{Timeout: -1})
			_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
			requireFailure(t, err, jsonrpc2.ErrBadReply, "no response to this call")
			servicetest.RequireAdds(t, client)
		})
	}
}

// A server that sends and sends is read up to the limit.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"blanks": strings.Repeat(" ", 4096), "NULs": strings.Repeat("\x00", 4096), "brackets": strings.Repeat("[", 4096), "batch": strings.Repeat("[1],", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, err := io.WriteString(w, "[")
				for err == nil { // until the client hangs up
					_, err = io.WriteString(w, text)
				}
			})
			client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{Timeout: -1, MaxMessageSize: 1 << 20})
			_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
			s.requireFailure(t, err, jsonrpc2.ErrReplyTooLarge, "limit of 1048576 bytes")
			servicetest.RequireAdds(t, client)
		})
	}
}

// A useless answer of the maximum size ends its own call alone.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"NULs":              {strings.Repeat("\x00", limit), jsonrpc2.ErrBadReply},
		"invalid UTF-8":     {`{"id":"` + strings.Repeat("\xff", limit/2) + `"}`, jsonrpc2.ErrBadReply},
		"nesting":           {strings.Repeat("[", limit), jsonrpc2.ErrReplyTooLarge},
		"closed nesting":    {strings.Repeat("[", 9000) + strings.Repeat("]", 9000), jsonrpc2.ErrReplyTooLarge},
		"batch of millions": {"[1" + strings.Repeat(",1", limit/2-10) + "]", jsonrpc2.ErrReplyTooLarge},
		"batch of batches":  {"[[]" + strings.Repeat(",[{}]", limit/5-10) + "]", jsonrpc2.ErrReplyTooLarge},
		"duplicates":        {`[{"id":"x"}` + strings.Repeat(`,{"id":"x","result":1}`, 9000) + "]", jsonrpc2.ErrBadReply},
		"many names":        {`{"a":1` + strings.Repeat(`,"a":1`, limit/6-10) + "}", jsonrpc2.ErrBadReply},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, body("application/json", test.text))
			client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{Timeout: -1, MaxMessageSize: limit})
			for range 3 {
				_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
				requireFailure(t, err, test.want)
				servicetest.RequireAdds(t, client)
			}
		})
	}
}

// A server that answers one call with the ids of others ends those calls, once,
// and the one that it did not answer.
func TestAnswersToOtherCalls(t *testing.T) {
	t.Parallel()
	ids := make(chan string, 1)
	release := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			ID     json.RawMessage
			Method string
		}
		_ = json.NewDecoder(r.Body).Decode(&request)
		id := string(request.ID)
		switch request.Method {
		case "first":
			ids <- id
			<-release
		case "second": // for the first
			id = <-ids
		}
		body("application/json", `{"jsonrpc":"2.0","id":`+id+`,"result":7}`)(w, r)
	}))
	defer web.Close()
	client := dialWith(t, connect(t, web.URL, nil), jsonrpc2.ClientOptions{Timeout: -1})
	first := client.Go("Calc.First", nil, new(int), nil)
	_, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Second", nil)
	close(release)
	requireFailure(t, err, jsonrpc2.ErrBadReply, "no response to this call")
	<-first.Done
	require.NoError(t, first.Error)
	third, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Third", nil)
	require.NoError(t, err)
	require.Equal(t, 7, third)
}
