package amqpconn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHasNotification(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"jsonrpc":"2.0","method":"a"}`:                        false, // no batch
		`[{"method":"a"}]`:                                      true,
		`[{"id":1,"method":"a"}]`:                               false,
		` [ { "method" : "a" , "id" : null } ] `:                false,
		`[{"id":1},{"method":"a"}]`:                             true,
		`[{"method":"a"},{"id":1}]`:                             true,
		`[{"id":1},{"id":2},{"id":3}]`:                          false,
		`[{"method":"id"}]`:                                     true, // a value, no name
		`[{"method":"a","params":{"id":1}}]`:                    true,
		`[{"method":"a","params":[{"id":1}]}]`:                  true,
		`[{"id":1,"params":[{"a":1},{"b":{}}]}]`:                false,
		`[{"id":1,"method":"a\"}"},{"id":2,"method":"],[{\\"}]`: false,
		`[{"id":1,"method":"a\"}"},{"method":"\"id\":1"}]`:      true,
		`[{"\u0069d":1}]`:                                       true, // in doubt
		`[1,"id",null]`:                                         false,
		`[[]]`:                                                  true,
		`[]`:                                                    false,
		``:                                                      false,
		`[{"id`:                                                 false,
		`[{"id\`:                                                false,
		`[{"id":"` + "\x00" + `"}]]]}}`:                         false,
	} {
		require.Equal(t, want, hasNotification([]byte(body)), body)
	}
}

// hasNotification reads whatever a caller writes.
func FuzzHasNotification(f *testing.F) {
	for _, seed := range []string{`[{"id":1},{"method":"a"}]`, `[{"a":"\"`, `]]}}[`, `[[{"id":[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) { hasNotification(body) })
}
