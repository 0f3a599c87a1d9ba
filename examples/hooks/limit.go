package hooks

import (
	"context"
	"sync"

	"golang.org/x/time/rate"

	"github.com/micromessaging/jsonrpc2"
)

// CodeLimited is the code of the *jsonrpc2.Error that answers a call beyond the limit.
const CodeLimited = 429

// maxTenants bounds the tenants that have a limit of their own: whoever calls may name any
// number of tenants, and none is forgotten. Tenants beyond the bound share the limit of the
// tenant "".
const maxTenants = 10_000

// A Limiter limits the calls per second of each tenant. The member "tenant" of a call's
// metadata names its tenant; calls without one share the tenant "". Several servers may share
// a Limiter.
type Limiter struct {
	limit rate.Limit
	burst int

	mu       sync.Mutex // protects following
	byTenant map[string]*rate.Limiter
}

// NewLimiter returns a Limiter that lets each tenant make limit calls a second, and at most
// burst at once.
func NewLimiter(limit rate.Limit, burst int) *Limiter {
	return &Limiter{limit: limit, burst: burst, byTenant: make(map[string]*rate.Limiter)}
}

// Begin is a jsonrpc2.BeginFunc. It refuses calls and notifications beyond the limit.
func (l *Limiter) Begin(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	if !l.of(call.Meta["tenant"]).Allow() {
		return nil, nil, &jsonrpc2.Error{Code: CodeLimited, Message: "too many calls"}
	}
	return nil, nil, nil
}

// of returns the limiter of a tenant.
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
