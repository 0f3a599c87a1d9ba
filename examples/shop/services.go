package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/rpc"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// An Order is what a customer wants. Its Context is that of the call which brought it. A
// call made with it has the same deadline and continues the same trace.
type Order struct {
	jsonrpc2.Context
	ID       string `json:"id"`
	Item     string `json:"item"`
	Quantity int    `json:"quantity"`
}

// A Receipt is what a customer gets.
type Receipt struct {
	Order       string `json:"order"`
	Reservation string `json:"reservation"`
}

// These are the codes of the services' own errors. They travel to the web process, which
// turns them into statuses.
const (
	codeNoSuchItem = 1
	codeOutOfStock = 2
)

// recordTimeout is how long an order waits until its record is in the audit queue.
const recordTimeout = time.Second

// Orders places orders.
type Orders struct{ inventory, audit *rpc.Client }

// Place reserves what is ordered, and has that recorded.
func (o *Orders) Place(order Order, receipt *Receipt) error {
	if order.Quantity < 1 {
		return &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: "quantity must be at least 1"}
	}
	reservation, err := jsonrpc2.Call[string](order, o.inventory, "Inventory.Reserve", order)
	if err != nil {
		return err // that of Inventory, with its code
	}
	// The order stands: its record no longer depends on how long the customer waits. It must
	// not use up this time either, as when the audit queue is full.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(order), recordTimeout)
	defer cancel()
	if err := jsonrpc2.Notify(ctx, o.audit, "Audit.Record", order); err != nil {
		slog.Error("order not recorded", "order", order.ID, "error", err)
	}
	*receipt = Receipt{Order: order.ID, Reservation: reservation}
	return nil
}

// Inventory knows what is in stock. It is in memory here, so that each worker has a
// warehouse of its own. A company's would be in a database.
type Inventory struct {
	mu    sync.Mutex // protects stock
	stock map[string]int
}

func newInventory() *Inventory {
	return &Inventory{stock: map[string]int{"tea": 1_000_000, "coffee": 0}}
}

// Reserve takes what is ordered out of the stock, and returns the number of the reservation.
func (i *Inventory) Reserve(order Order, reservation *string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch stock, ok := i.stock[order.Item]; {
	case !ok:
		return &jsonrpc2.Error{Code: codeNoSuchItem, Message: fmt.Sprintf("no such item: %q", order.Item)}
	case stock < order.Quantity:
		return &jsonrpc2.Error{Code: codeOutOfStock, Message: fmt.Sprintf("out of stock: %q", order.Item)}
	}
	i.stock[order.Item] -= order.Quantity
	*reservation = rand.Text()
	return nil
}

// Audit keeps the records of all orders: in the log, which a company would collect.
type Audit struct{}

// Record records an order.
func (Audit) Record(order Order, _ *struct{}) error {
	slog.Info("order recorded", "order", order.ID, "item", order.Item, "quantity", order.Quantity)
	return nil
}
