package hooks

import (
	"context"
	"sync"

	"golang.org/x/time/rate"

	"github.com/micromessaging/jsonrpc2"
)

// CodeLimited is the code of the error that a call gets beyond the limit.
const CodeLimited = 429

// maxTenants is how many tenants have a limit of their own. Metadata comes from strangers,
// who may name as many as they like: those beyond share one.
const maxTenants = 10_000

// A Limiter lets a server run so many calls a second for each tenant, as the metadata of
// the calls names it.
type Limiter struct {
	limit rate.Limit
	burst int

	mu       sync.Mutex // protects following
	byTenant map[string]*rate.Limiter
}

// NewLimiter returns a Limiter of limit calls a second for each tenant, and of burst at
// once.
func NewLimiter(limit rate.Limit, burst int) *Limiter {
	return &Limiter{limit: limit, burst: burst, byTenant: make(map[string]*rate.Limiter)}
}

// Begin is a jsonrpc2.BeginFunc: it refuses the calls beyond the limit.
func (l *Limiter) Begin(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	if !l.of(call.Meta["tenant"]).Allow() {
		return nil, nil, &jsonrpc2.Error{Code: CodeLimited, Message: "too many calls, try again in a second"}
	}
	return nil, nil, nil
}

func (l *Limiter) of(tenant string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.byTenant[tenant]; !ok && len(l.byTenant) >= maxTenants {
		tenant = ""
	}
	limiter, ok := l.byTenant[tenant]
	if !ok {
		limiter = rate.NewLimiter(l.limit, l.burst)
		l.byTenant[tenant] = limiter
	}
	return limiter
}
