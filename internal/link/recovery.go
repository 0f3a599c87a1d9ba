package link

import (
	"sync/atomic"
	"time"
)

// A Recovery knows when a connection last began to work again. The zero value says that it
// never did.
type Recovery struct{ at atomic.Pointer[time.Time] }

// Note notes when the connection began to work again.
func (r *Recovery) Note(at time.Time) { r.at.Store(&at) }

// IsWithin reports whether the connection began to work again less than d ago.
func (r *Recovery) IsWithin(d time.Duration) bool {
	at := r.at.Load()
	return at != nil && time.Since(*at) < d
}
