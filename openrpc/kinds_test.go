package openrpc_test

import (
	"encoding/json"
	"math/big"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// Kinds has a method for each kind of argument. Each returns what it was given.
type Kinds struct{}

func echo[T any](args T, reply *T) error {
	*reply = args
	return nil
}

func (Kinds) Number(args float64, reply *float64) error                { return echo(args, reply) }
func (Kinds) Unsigned(args uint8, reply *uint8) error                  { return echo(args, reply) }
func (Kinds) Text(args string, reply *string) error                    { return echo(args, reply) }
func (Kinds) Bool(args *bool, reply *bool) error                       { return echo(*args, reply) }
func (Kinds) Bytes(args []byte, reply *[]byte) error                   { return echo(args, reply) }
func (Kinds) Numbers(args []int, reply *[]int) error                   { return echo(args, reply) }
func (Kinds) Pair(args [2]int, reply *[2]int) error                    { return echo(args, reply) }
func (Kinds) Map(args map[string]int, reply *map[string]int) error     { return echo(args, reply) }
func (Kinds) Any(args any, reply *any) error                           { return echo(args, reply) }
func (Kinds) Raw(args json.RawMessage, reply *json.RawMessage) error   { return echo(args, reply) }
func (Kinds) Time(args time.Time, reply *time.Time) error              { return echo(args, reply) }
func (Kinds) Empty(args struct{}, reply *struct{}) error               { return echo(args, reply) }
func (Kinds) Alone(args struct{ jsonrpc2.Context }, reply *Tree) error { return nil }
func (Kinds) Order(args *Order, reply **Order) error                   { return echo(args, reply) }
func (Kinds) Tree(args Node, reply *Tree) error                        { return echo(args.Under, reply) }
func (Kinds) Custom(args Colour, reply *Colour) error                  { return echo(args, reply) }
func (Kinds) Late(args Late, reply *Late) error                        { return echo(args, reply) }
func (Kinds) Page(args Page[Item], reply *Page[Page[int]]) error       { return nil }
func (Kinds) Texts(args Texts, reply *Texts) error                     { return echo(args, reply) }
func (Kinds) Channel(args struct{}, reply *chan int) error             { return nil }
func (Kinds) NoChannel(args struct{}, reply **chan int) error          { return nil }
func (Kinds) Nulls(args Nulls, reply *Nulls) error                     { return echo(args, reply) }

func (Kinds) HiddenSlice(struct{}, *[]hidden) error { return nil }

// net/rpc does not take these.
func (Kinds) NoError(struct{}, *int)              {}
func (Kinds) NoPointer(struct{}, int) error       { return nil }
func (Kinds) Three(_, _ struct{}, _ *int) error   { return nil }
func (Kinds) Hidden(hidden, *int) error           { return nil }
func (Kinds) HiddenReply(struct{}, *hidden) error { return nil }

type hidden struct{}

// An Order has fields of many kinds, and is sent as encoding/json says.
type Order struct {
	jsonrpc2.Context
	Base

	ID       int64             `json:"id"`
	Secret   string            `json:"-"`
	Quoted   int               `json:",string"`
	Items    []Item            `json:"items"`
	Tags     map[string]string `json:"tags,omitempty"`
	Placed   time.Time         `json:"placed"`
	Parent   *Order            `json:"parent"`
	Total    *big.Int          `json:"total,omitempty"`
	Note     *string           `json:"note,omitempty"`
	Zero     time.Duration     `json:"zero,omitzero"`
	Colour   Colour            `json:"colour"`
	Number   json.Number       `json:"number"`
	Anything any               `json:"anything"`
	Inline   struct{ X int8 }  `json:"inline"`
}

// Base is embedded.
type Base struct {
	Tenant string
	ID     string // another member than Order.ID, which a tag renames
}

// An Item is one of an order.
type Item struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// A Node refers to itself through a slice that does so, too.
type Node struct {
	Under Tree
	Right *Node `json:",omitempty"`
}

// A Tree is a slice of itself.
type Tree []Tree

// A Colour encodes itself as a text.
type Colour int

func (c Colour) MarshalText() ([]byte, error) { return []byte("red"), nil }
func (c *Colour) UnmarshalText([]byte) error  { return nil }

// Texts have values that are read in another way than they are written.
type Texts struct {
	Read    readsText
	Written writesText
	Bytes   []readsByte
	Maps    map[string]Colour
	Pointer map[string]pointerText
	Array   map[string][1]pointerText
	Struct  map[string]struct{ In pointerText }
	Totals  map[string]big.Int
}

type (
	readsText   int
	readsByte   uint8
	writesText  int
	pointerText int
)

func (*readsText) UnmarshalText([]byte) error       { return nil }
func (*readsByte) UnmarshalText([]byte) error       { return nil }
func (writesText) MarshalText() ([]byte, error)     { return []byte("a"), nil }
func (*pointerText) MarshalText() ([]byte, error)   { return []byte("a"), nil }
func (p *pointerText) UnmarshalText(_ []byte) error { *p = 5; return nil }

// Nulls have fields that may be null although an empty one is left out, and optional ones after
// the last that is required.
type Nulls struct {
	Keyed map[upper]int
	Slice *[]int         `json:",omitempty"`
	Kept  kept           `json:",omitzero"`
	Map   map[string]int `json:",omitempty"`
	Last  int            `json:",omitempty"`
}

type kept []int

func (kept) IsZero() bool { return false }

// An upper may be a key in a map.
type upper struct{}

func (upper) MarshalText() ([]byte, error)  { return []byte("A"), nil }
func (*upper) UnmarshalText(_ []byte) error { return nil }

// Late has a field that may be missing before one that may not.
type Late struct {
	First  *int
	Second int
	Third  int `json:",omitempty"`
}

// A Page is generic.
type Page[T any] struct {
	Of   []T
	Next *Page[T] `json:",omitempty"`
}
