package redisconn_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// replacing returns a client of a broker behind a proxy that puts another command
// in the place of those that replace returns one for.
func replacing(t *testing.T, broker *brokertest.Redis, replace func(command []string) []string) *redis.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var links sync.WaitGroup
	links.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			links.Go(func() { passOn(client, broker.Addr, replace) })
		}
	})
	rdb := redis.NewClient(&redis.Options{Addr: ln.Addr().String()})
	t.Cleanup(func() {
		_ = rdb.Close()
		_ = ln.Close()
		links.Wait()
	})
	return rdb
}

func passOn(client net.Conn, addr string, replace func([]string) []string) {
	defer client.Close()
	server, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	defer answers.Wait()
	defer server.Close()
	in := bufio.NewReader(client)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		if other := replace(command); other != nil {
			command = other
		}
		if _, err := io.WriteString(server, formatCommand(command)); err != nil {
			return
		}
	}
}

// readCommand reads a command as clients send it: an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(mark byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil || line[0] != mark {
			return 0, io.ErrUnexpectedEOF
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	command := make([]string, n)
	for i := range command {
		size, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, size+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		command[i] = string(word[:size])
	}
	return command, err
}

func formatCommand(command []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b.String()
}

// refusing returns a client of a broker that refuses commands with a text.
// "RPOP n" stands for RPOP with a count.
func refusing(t *testing.T, broker *brokertest.Redis, text string, refused ...string) *redis.Client {
	return replacing(t, broker, func(command []string) []string {
		name := strings.ToUpper(command[0])
		if (name == "RPOP" || name == "LPOP") && len(command) > 2 {
			name += " n"
		}
		if slices.Contains(refused, name) {
			return []string{"EVAL", fmt.Sprintf("return redis.error_reply(%q)", text), "0"}
		}
		return nil
	})
}

// If a broker refuses a command that has a substitute, in whatever words, the substitute is used.
// An announcement alone has none if Redis does not tell its time. Formerly three wordings were
// known, and only for BLMPOP.
func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	texts := []string{
		"ERR command is not available",
		"ERR 'BLMPOP' not support for your account",
		"ERR unknown command 'BLMPOP', with args beginning with: ",
		"NOPERM this user has no permissions to run the command",
	}
	for i, refused := range [][]string{
		{"BLMPOP"},
		{"BLMPOP", "RPOP n", "LPOP n"},
		{"BLMPOP", "RPOP n", "LPOP n", "RPOP", "LPOP"},
		{"EVAL", "EVALSHA"},
		{"TIME"},
		{"TIME", "EVAL", "EVALSHA"},
		{"PEXPIRE", "EVAL", "EVALSHA"},
		{"PEXPIRE", "EVAL", "EVALSHA", "BLMPOP", "RPOP n", "LPOP n", "TIME", "PTTL", "LREM", "DEL"},
	} {
		for j, text := range texts {
			if i > 0 && j != i%len(texts) {
				continue
			}
			t.Run(fmt.Sprint(refused, text), func(t *testing.T) {
				t.Parallel()
				broker := brokertest.StartRedis(t)
				admin := broker.Client(t)
				rdb := refusing(t, broker, text, refused...)
				var log servicetest.LogBook
				slow := servicetest.NewSlow()
				serve(t, rdb, &redisconn.ListenOptions{Logger: log.Logger()}, slow)
				c := dial(t, rdb, &redisconn.DialOptions{Logger: log.Logger()}, 0)
				servicetest.RequireCalls(t, c.Client, 20)
				push(t, admin, add("stranger"))
				requireLen(t, admin, "stranger", 1)
				require.Equal(t, six, admin.LIndex(t.Context(), "stranger", 0).Val())
				servicetest.Eventually(t, func() bool { return admin.PTTL(t.Context(), "stranger").Val() > 0 })
				for i := range 30 { // more than are taken at once
					push(t, admin, wait(i, "slow"))
				}
				slow.RequireRunning(t, 30)
				slow.Open()
				requireLen(t, admin, "slow", 30)
				if slices.Contains(refused, "TIME") && slices.Contains(refused, "EVAL") { // nobody knows the time
					servicetest.Eventually(t, func() bool { return log.Count("level=WARN", "server can't announce itself") == 1 }, &log)
					require.Equal(t, 1, log.Count(""), &log)
				} else {
					require.Empty(t, log.String())
				}
			})
		}
	}
}
