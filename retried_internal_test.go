package jsonrpc2

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A batch is sent again only as all its requests allow, in whatever order they stand. Once a
// request without After was sent again after that of a neighbour.
func TestPolicyOfBatch(t *testing.T) {
	t.Parallel()
	idempotent := func(after time.Duration) RetryPolicy { return RetryPolicy{Idempotent: true, After: after} }
	for _, test := range []struct {
		policies []RetryPolicy
		want     RetryPolicy
	}{
		{[]RetryPolicy{idempotent(2), idempotent(3)}, idempotent(3)},
		{[]RetryPolicy{idempotent(3), idempotent(2)}, idempotent(3)},
		{[]RetryPolicy{idempotent(0), idempotent(2)}, idempotent(0)},
		{[]RetryPolicy{idempotent(2), idempotent(0)}, idempotent(0)},
		{[]RetryPolicy{idempotent(2), idempotent(0), idempotent(3)}, idempotent(0)},
		{[]RetryPolicy{{After: 2}, idempotent(3)}, RetryPolicy{}},
		{[]RetryPolicy{idempotent(3), {}}, RetryPolicy{}},
	} {
		t.Run(fmt.Sprint(test.policies), func(t *testing.T) {
			t.Parallel()
			var parts []*Request
			for _, policy := range test.policies {
				parts = append(parts, NewRequest(WithRetryPolicy(t.Context(), policy), []byte(`{}`), Hooks{}))
			}
			require.Equal(t, test.want, new(retryConn).policyOf(JoinRequests(nil, Hooks{}, parts...)))
		})
	}
}
