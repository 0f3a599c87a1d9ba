package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// A Redis is a private Redis server.
type Redis struct {
	Addr string // host:port

	t    testing.TB
	dir  string
	bus  int      // the port at which nodes of a cluster talk to each other
	mode []string // arguments behind the configuration file
	proc *process // the latest one
}

// StartRedis starts a Redis server that the test's cleanup ends. args are arguments of
// redis-server, such as "--appendonly", "yes". Unless they say otherwise, it persists nothing.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return startRedis(t, func(int) string { return configLines(args) })
}

// startRedis starts a Redis with further lines of configuration. config returns them; they may
// use a second free port, bus.
func startRedis(t testing.TB, config func(bus int) string, mode ...string) *Redis {
	t.Helper()
	r := &Redis{t: t, dir: t.TempDir(), mode: mode}
	err := withFreePorts(2, func(ports []int) error {
		r.Addr, r.bus = loopback(ports[0]), ports[1]
		if err := r.configure(ports[0], config(r.bus)); err != nil {
			return err
		}
		return r.start()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	return r
}

// configLines turns arguments into lines of a configuration file.
func configLines(args []string) string {
	var b strings.Builder
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--"); ok {
			b.WriteString("\n" + name)
		} else {
			b.WriteString(" " + strconv.Quote(arg))
		}
	}
	return b.String()
}

// configure writes the configuration file. Redis itself rewrites the file, as after a
// failover, and a later Start finds that there. Arguments alone would lose it.
func (r *Redis) configure(port int, more string) error {
	config := fmt.Sprintf(`bind 127.0.0.1
port %d
dir %q
save ""
repl-diskless-sync-delay 0
%s
`, port, r.dir, more)
	return os.WriteFile(r.config(), []byte(config), 0o600)
}

func (r *Redis) config() string { return filepath.Join(r.dir, "redis.conf") }

func (r *Redis) start() error {
	path, err := findTool("redis-server", "redis-server")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, append([]string{r.config()}, r.mode...)...)
	proc, err := startProcess(cmd, filepath.Join(r.dir, "redis.log"))
	if err != nil {
		return err
	}
	r.proc = proc
	if err := proc.await(r.ready); err != nil {
		return errors.Join(err, proc.kill())
	}
	return nil
}

// ready returns nil when the server answers and has loaded its data. It returns errPortTaken
// if another server answers on the port.
func (r *Redis) ready() error {
	info, err := r.ask("INFO")
	switch {
	case err != nil:
		return err
	case !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", r.proc.cmd.Process.Pid)):
		return errPortTaken
	case strings.Contains(info, "loading:1\r\n"):
		return errors.New("loading its data")
	}
	return nil
}

// ask sends a command, whose words are separated by blanks, on a connection of its own. It
// returns the reply as fmt prints it.
func (r *Redis) ask(command string) (string, error) {
	const timeout = 10 * time.Second // on a machine that stalls
	// Dialled here, since go-redis logs a dial that fails.
	conn, err := net.DialTimeout("tcp", r.Addr, timeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	client := redis.NewClient(&redis.Options{
		Dialer:      func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		MaxRetries:  -1,
		ReadTimeout: timeout,
	})
	defer client.Close()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	reply, err := client.Do(context.Background(), words...).Result()
	return fmt.Sprint(reply), err
}

// says sends a command, and returns nil if the reply contains want.
func (r *Redis) says(command, want string) error {
	reply, err := r.ask(command)
	if err == nil && !strings.Contains(reply, want) {
		err = fmt.Errorf("%s: no %q in the reply to %s: %s", r.Addr, want, command, reply)
	}
	return err
}

// URL returns the server's address as a redis:// URL.
func (r *Redis) URL() string { return "redis://" + r.Addr + "/0" }

// Client returns a new client with go-redis's defaults. The test's cleanup closes it.
func (r *Redis) Client(t testing.TB) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Kill kills the server without warning and waits until it is gone.
func (r *Redis) Kill() {
	r.t.Helper()
	require.NoError(r.t, r.proc.kill())
}

// Start starts a killed server again, on the same port and folder, and waits
// until it answers and has loaded its data.
func (r *Redis) Start() {
	r.t.Helper()
	require.NoError(r.t, r.start())
}

// Restart is Kill and Start.
func (r *Redis) Restart() {
	r.t.Helper()
	r.Kill()
	r.Start()
}

// Stop suspends the server: it keeps its connections and answers nothing.
func (r *Redis) Stop() {
	r.t.Helper()
	require.NoError(r.t, r.proc.suspend())
}

// Cont lets a suspended server go on.
func (r *Redis) Cont() {
	r.t.Helper()
	require.NoError(r.t, r.proc.signal(resume))
}

// CommandsOf returns the commands that Redis ran while f ran: their names, and how often, as
// in "calls=2". It resets Redis's statistics.
func CommandsOf(t testing.TB, rdb *redis.Client, f func()) map[string]string {
	t.Helper()
	require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
	f()
	stats, err := rdb.InfoMap(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	ran := make(map[string]string)
	for name, text := range stats["Commandstats"] {
		ran[strings.TrimPrefix(name, "cmdstat_")], _, _ = strings.Cut(text, ",")
	}
	delete(ran, "config|resetstat")
	return ran
}
