package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// natsModule is the tool of go.mod that is a NATS server.
const natsModule = "github.com/nats-io/nats-server/v2"

// A natsServer is a running nats-server. On Linux it ends with this process.
type natsServer struct {
	cmd  *exec.Cmd
	log  bytes.Buffer  // complete when done is closed
	done chan struct{} // closed when the process has ended
}

// startNATS starts a NATS server with default options, and returns its URL. The cleanup of t
// kills it.
func startNATS(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	s := &natsServer{
		// The server takes a free port, and writes it into a file in dir.
		cmd:  exec.Command(natsProgram(t), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", dir),
		done: make(chan struct{}),
	}
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = dieWithParent()
	started := make(chan error)
	go s.mind(started)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	url, err := s.url(dir)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// natsProgram builds the NATS server of the version in go.mod, and returns its path.
func natsProgram(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("go", "tool", "-n", natsModule)
	var problem strings.Builder
	cmd.Stderr = &problem
	path, err := cmd.Output()
	if err != nil {
		t.Fatalf("no NATS server: set NATS_URL, or run this in the folder of benchmarks with go in the path: %v\n%s", err, &problem)
	}
	return strings.TrimSpace(string(path))
}

// mind starts the server and waits for its end. It keeps its thread until then: Linux sends the
// parent-death signal when the thread that forked ends, not when the whole process does.
func (s *natsServer) mind(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.done)
	err := s.cmd.Start()
	started <- err
	if err == nil {
		_ = s.cmd.Wait() // ProcessState has the outcome
	}
}

func (s *natsServer) kill() {
	_ = s.cmd.Process.Kill() // fails if it has ended already
	<-s.done
}

// url waits until the server listens, and returns its URL.
func (s *natsServer) url(dir string) (string, error) {
	timeout := time.After(time.Minute)
	for {
		if url := writtenURL(dir); url != "" {
			return url, nil
		}
		select {
		case <-s.done:
			return "", fmt.Errorf("nats-server ended: %v\n%s", s.cmd.ProcessState, &s.log)
		case <-timeout:
			return "", errors.New("nats-server does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// writtenURL returns the URL in the file that a server writes into dir. It returns "" as long
// as the file is missing or incomplete.
func writtenURL(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.ports"))
	if len(files) == 0 {
		return ""
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return ""
	}
	var ports struct{ Nats []string }
	if json.Unmarshal(text, &ports) != nil || len(ports.Nats) == 0 {
		return ""
	}
	return ports.Nats[0]
}
