package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// Brokers are the brokers that the environment variables name, or private ones. A private one
// starts when its URL is first needed.
type brokers struct {
	redis, amqp, nats string // URLs, once known
	harness           harness
}

// redisURL returns the URL of a Redis.
func (b *brokers) redisURL() (string, error) {
	return b.urlOf(&b.redis, "REDIS_URL", func() string { return brokertest.StartRedis(&b.harness).URL() })
}

// amqpURL returns the URL of a RabbitMQ.
func (b *brokers) amqpURL() (string, error) {
	return b.urlOf(&b.amqp, "AMQP_URL", func() string { return brokertest.StartRabbitMQ(&b.harness).URL() })
}

// natsURL returns the URL of a NATS server.
func (b *brokers) natsURL() (string, error) {
	return b.urlOf(&b.nats, "NATS_URL", func() string { return startNATS(&b.harness) })
}

// urlOf returns a broker's URL, and stores it in known: the known one, else that in the
// environment variable, else that of a broker which start starts.
func (b *brokers) urlOf(known *string, variable string, start func() string) (url string, err error) {
	*known = cmp.Or(*known, os.Getenv(variable))
	if *known == "" {
		err = b.harness.try(func() { *known = start() })
	}
	return *known, err
}

// close ends the private brokers.
func (b *brokers) close() {
	if err := b.harness.try(b.harness.close); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks: ending the brokers:", err)
	}
}

// A harness is the testing.TB that brokertest takes. It has the methods that are called there,
// and no others.
type harness struct {
	testing.TB // nil: only there to implement the interface
	cleanups   []func()
}

// A fatal is the panic by which a harness ends what would end a test.
type fatal string

// try calls f, and returns the fatal that f panicked with as an error.
func (h *harness) try(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			err = fmt.Errorf("%s", string(p))
		default:
			panic(p)
		}
	}()
	f()
	return nil
}

func (h *harness) Helper()                      {}
func (h *harness) Logf(string, ...any)          {}
func (h *harness) Fatal(args ...any)            { panic(fatal(fmt.Sprint(args...))) }
func (h *harness) Fatalf(f string, args ...any) { panic(fatal(fmt.Sprintf(f, args...))) }
func (h *harness) Errorf(f string, args ...any) { panic(fatal(fmt.Sprintf(f, args...))) }
func (h *harness) FailNow()                     { panic(fatal("failed")) }
func (h *harness) Cleanup(f func())             { h.cleanups = append(h.cleanups, f) }

// TempDir makes a folder that close removes.
func (h *harness) TempDir() string {
	dir, err := os.MkdirTemp("", "benchmarks")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// close calls the cleanups, last first.
func (h *harness) close() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	h.cleanups = nil
}
