// Package shop has comments in all places.
package shop

import (
	"errors"
	"time"
)

type (
	// Args are of a group,
	// on two lines.
	//
	// They have a list:
	//   - one
	//   - two
	Args struct {
		// ID is above.
		ID   int
		Name string // is behind
		// Both stand for two.
		A, B   int
		None   int
		hidden int // is not sent
		// Base is one field.
		Base `json:"base"`
		// Time is of another package.
		*time.Time
		List[int] // is of a generic type
		base      // is not exported
	}

	Base        struct{}
	base        struct{}
	List[T any] []T

	Bare struct{}
)

// Shop is a service.
type Shop struct{ hidden int }

// Buy is a method of a pointer.
func (*Shop) Buy(args Args, reply *int) error { return errors.ErrUnsupported }

// Sell has its params under one type.
func (Shop) Sell(args, reply *int) error { return nil }

// Close is none for net/rpc.
func (Shop) Close() error { return nil }

// Two returns two results.
func (Shop) Two(args, reply *int) (int, error) { return 0, nil }

// Other returns another type.
func (Shop) Other(args, reply *int) bool { return false }

// private is none, either.
func (Shop) private(args, reply *int) error { return nil }

func (Shop) Silent(args, reply *int) error { return nil }

// Generic is a service.
type Generic[K comparable, V any] struct{}

// Get is a method of a generic type.
func (g *Generic[K, V]) Get(args K, reply *V) error { return nil }

// Function is no method.
func Function(args, reply *int) error { return nil }

// Constant is no type.
const Constant = 1

// hidden is not exported, but may be registered under a name.
type hidden struct{}

// Do is its method.
func (hidden) Do(args, reply *int) error { return nil }
