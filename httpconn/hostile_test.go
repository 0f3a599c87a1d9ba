package httpconn_test

import (
	"testing"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

// The answer to a POST is the only one: a call that it does not answer fails
// then, also where it would wait for ever.
func TestAnswerToNoCall(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"another id":    `{"jsonrpc":"2.0","id":"another","result":1}`,
		"number id":     `{"jsonrpc":"2.0","id":0,"result":1}`,
		"no id":         `{"jsonrpc":"2.0","result":1}`,
		"request":       `{"jsonrpc":"2.0","id":1,"method":"add"}`,
		"no object":     `5`,
		"null":          `null`,
		"empty batch":   `[]`,
		"batch of junk": `[1,[{"jsonrpc":"2.0"}],"x"]`,
		"odd error":     `{"jsonrpc":"2.0","id":null,"error":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, body("application/json", text))
			client := dialWith(t, httpconn.Dial(s.secret, nil), jsonrpc2.ClientOptions{Timeout: -1})
			_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
			requireFailure(t, err, jsonrpc2.ErrBadReply, "no response to this call")
			requireAdds(t, client)
		})
	}
}
