package jsonrpc2

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A json.Decoder keeps an error of syntax for ever, and what it had read by then.
func TestDecoderGoesOnAfterErrors(t *testing.T) {
	deep := strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001)
	for name, test := range map[string]struct {
		text string
		into any
	}{
		"too deep":              {deep, new(any)},
		"too deep, skipped":     {deep, new(int)},
		"too deep in a member":  {`{"A":` + deep + `,"B":1}`, new(pair)},
		"cut off":               {`{"A":1,"B":`, new(pair)},
		"nothing":               {"", new(pair)},
		"no JSON":               {`{"A":1}}nonsense`, new(string)},
		"wrong type":            {`{"A":"x","B":2}`, new(pair)},
		"refused by the type":   {`"soon"`, new(time.Time)},
		"out of range":          {`1e999`, new(float64)},
		"not a pointer":         {`1`, 1},
		"panic":                 {`1`, new(panicking)},
		"name that is no field": {`[{"A":[{"B":0}]}]`, new([]map[string]pair)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDecoder()
			_, _ = d.decode([]byte(test.text), test.into)
			for range 2 {
				var got pair
				err, _ := d.decode([]byte(`{"A":1,"B":2}`), &got)
				require.NoError(t, err)
				require.Equal(t, pair{1, 2}, got)
				var raw json.RawMessage
				err, _ = d.decode([]byte(`[3]`), &raw)
				require.NoError(t, err)
				require.Equal(t, "[3]", string(raw))
			}
		})
	}
}
