package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// An output is what processes print. Several may write to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A site is a running shop.
type site struct {
	t       *testing.T
	env     []string // of its processes
	program string
	foreman *exec.Cmd
	web     string    // URL
	workers []string  // URLs
	outputs []*output // of foreman and of other workers
}

// startSite has foreman start the Procfile: one web and two workers.
func startSite(t *testing.T, brokerURL string) *site {
	t.Helper()
	foreman, err := exec.LookPath("foreman")
	require.NoError(t, err, "apt-get install ruby-foreman")
	bin := t.TempDir()
	s := &site{t: t, program: filepath.Join(bin, "shop")}
	require.NoError(t, os.Symlink(os.Args[0], s.program))
	s.env = append(os.Environ(), beShop+"=1", "GORACE=atexit_sleep_ms=0", "PATH="+bin+":"+os.Getenv("PATH"),
		"BROKER_URL="+brokerURL, "OTEL_TRACES_EXPORTER=console", "OTEL_BSP_SCHEDULE_DELAY=100")
	port := freeBase(t)
	s.web, s.workers = localURL(port), []string{localURL(port + 100), localURL(port + 101)}
	s.foreman = s.start(foreman, port, "start", "-f", "Procfile", "-m", "web=1,worker=2", "-t", "30")
	for _, url := range append(s.workers, s.web) {
		s.awaitReady(url)
	}
	return s
}

func localURL(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }

// freeBase returns the first of the ports that foreman gives to its processes.
func freeBase(t *testing.T) int {
	t.Helper()
	base := freePort(t)
	for !reserve(t, base+100) || !reserve(t, base+101) {
		base = freePort(t)
	}
	return base
}

// reserve keeps a port that is free from those that brokertest.FreePort returns, which reserves
// its own by their UDP ports, too. The test's cleanup ends that.
func reserve(t *testing.T, port int) bool {
	t.Helper()
	reservation, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	t.Cleanup(func() { _ = reservation.Close() })
	return isFree(port)
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := strconv.Atoi(brokertest.FreePort(t))
	require.NoError(t, err)
	return port
}

func isFree(port int) bool {
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	return err == nil && ln.Close() == nil
}

// start starts a program in a group of its own, which the test's cleanup kills.
func (s *site) start(program string, port int, args ...string) *exec.Cmd {
	s.t.Helper()
	out := new(output)
	s.outputs = append(s.outputs, out)
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(slices.Clip(s.env), "PORT="+strconv.Itoa(port)), out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Log(out.String())
		}
		if cmd.ProcessState == nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		}
	})
	return cmd
}

// end sends SIGTERM to a program, which must end with status 0.
func (s *site) end(cmd *exec.Cmd) {
	s.t.Helper()
	require.NoError(s.t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(s.t, cmd.Wait())
}

// startWorker starts a worker beside those of foreman, which would end all of its processes
// with the first one that ends.
func (s *site) startWorker() (cmd *exec.Cmd, url string) {
	s.t.Helper()
	port := freePort(s.t)
	cmd, url = s.start(s.program, port, "worker"), localURL(port)
	s.awaitReady(url)
	return cmd, url
}

func (s *site) awaitReady(url string) {
	s.t.Helper()
	servicetest.Eventually(s.t, func() bool {
		status, _ := fetch(url + "/readyz")
		return status == http.StatusOK
	}, "%s is not ready", url)
}

// fetch returns status 0 and the error if there is no answer.
func fetch(url string) (status int, body string) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err.Error()
	}
	return send(r)
}

func send(r *http.Request) (status int, body string) {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// metric returns the value of a series at a process, 0 if it has no such series.
func metric(url, series string) int {
	_, body := fetch(url + "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int(n)
		}
	}
	return 0
}

// foremanPrefix is what foreman puts before each line of a process.
var foremanPrefix = regexp.MustCompile(`^\S+ \S+ +\| `)

// lines returns the lines that the processes have printed.
func (s *site) lines() (lines []string) {
	for _, out := range s.outputs {
		for line := range strings.Lines(out.String()) {
			lines = append(lines, foremanPrefix.ReplaceAllString(line, ""))
		}
	}
	return lines
}
