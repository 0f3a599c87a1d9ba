package redisconn_test

import (
	"fmt"
	"log"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const (
	// With it in its environment the test binary is a server of Calc, Poison and
	// Noted, until the end of its standard input.
	serveAddr = "REDISCONN_TEST_SERVE_ADDR"

	// serveNotes is the folder of its Noted.
	serveNotes = "REDISCONN_TEST_SERVE_NOTES"
)

// processLease is the lease of a server process. A process that a busy machine holds up must not count
// as one that died.
const processLease = 2 * time.Second

// serveProcess is the server process.
func serveProcess() {
	rdb := redis.NewClient(&redis.Options{Addr: os.Getenv(serveAddr)})
	conn, err := redisconn.Listen(rdb, queue, &redisconn.ListenOptions{
		Guarantee:   jsonrpc2.AtLeastOnce,
		Lease:       processLease,
		MaxAttempts: maxAttempts,
		Logger:      servicetest.Quiet,
	})
	if err != nil {
		log.Fatal(err)
	}
	server := rpc.NewServer()
	for _, service := range []any{calc.Calc{}, servicetest.Poison{}, Noted{os.Getenv(serveNotes)}} {
		if err := server.Register(service); err != nil {
			log.Fatal(err)
		}
	}
	if err := jsonrpc2.Serve(brokertest.Drained(), server, conn, &jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet}); err != nil {
		log.Fatal(err)
	}
}

// Noted is a service that notes each run in its folder, where no fault of the process
// reaches.
type Noted struct{ dir string }

// Run notes n, and returns it.
func (s Noted) Run(n int, reply *int) error {
	*reply = n
	return s.note(n)
}

// Wait is a Run that ends when its folder is opened.
func (s Noted) Wait(n int, reply *int) error {
	if err := s.Run(n, reply); err != nil {
		return err
	}
	for {
		if _, err := os.Stat(s.gate()); err == nil {
			return nil
		}
		<-time.After(servicetest.Tick)
	}
}

func (s Noted) gate() string { return filepath.Join(s.dir, "gate") }

func (s Noted) notes() string { return filepath.Join(s.dir, "notes") }

func (s Noted) note(n int) error {
	file, err := os.OpenFile(s.notes(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintln(file, n)
	return err
}

// open ends all Waits.
func (s Noted) open(t *testing.T) {
	t.Helper()
	require.NoError(t, os.WriteFile(s.gate(), nil, 0o600))
}

// runs returns how often each number ran.
func (s Noted) runs(t *testing.T) map[int]int {
	t.Helper()
	text, err := os.ReadFile(s.notes())
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return servicetest.Runs(t, text)
}

// noted returns a request to run a method of Noted.
func noted(method string, n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"%[1]d","reply_to":"there","method":"Noted.%[2]s","params":[%[1]d]}`, n, method)
}

// requireAnswered awaits the answer to a request, which is the next on its list.
func requireAnswered(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	require.Equal(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":"%[1]d","result":%[1]d}`, n), pop(t, rdb, "there"))
}

// A victim is a server process that is to be stopped or killed, alone on its queue.
type victim struct {
	*brokertest.Program
	Noted
	rdb *redis.Client
	gen string // that it has
}

// startVictim starts a server process, and waits until it waits for requests.
func startVictim(t *testing.T, broker *brokertest.Redis) victim {
	t.Helper()
	v := victim{Noted: Noted{t.TempDir()}, rdb: broker.Client(t)}
	v.Program = brokertest.StartProgram(t, serveAddr+"="+broker.Addr, serveNotes+"="+v.dir)
	requireBlocked(t, v.rdb, 1)
	gens := generations(t, v.rdb)
	require.Len(t, gens, 1)
	v.gen = gens[0]
	return v
}

// requireHolds waits until Redis holds so many requests for the victim.
func (v victim) requireHolds(t *testing.T, n int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		held := 0
		for _, field := range v.rdb.HKeys(t.Context(), heldKey(v.gen)).Val() {
			if strings.Contains(field, ".") && field[0] != 'n' {
				held++
			}
		}
		return held == n
	}, "want %d requests held", n)
}

// serveOpen starts a server in this process whose Noted is open.
func serveOpen(t *testing.T, rdb *redis.Client) (*worker, Noted) {
	t.Helper()
	notes := Noted{t.TempDir()}
	notes.open(t)
	return serve(t, rdb, leased(), notes), notes
}
