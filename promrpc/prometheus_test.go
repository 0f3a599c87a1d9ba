package promrpc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A prometheusServer is a Prometheus of the test's own.
type prometheusServer struct {
	url  string
	http *http.Client
}

const scrapeInterval = 200 * time.Millisecond

const configuration = `
global: {scrape_interval: %[1]v, evaluation_interval: %[1]v}
rule_files: [%[2]q]
scrape_configs:
  - job_name: calc
    static_configs: [{targets: [%[3]q]}]
`

var listening = regexp.MustCompile(`msg="?Listening on"? address=(\S+)`)

// startPrometheus starts a Prometheus that scrapes target, a host and port, and has the
// alerts.
func startPrometheus(t *testing.T, target string) *prometheusServer {
	program := find(t, "prometheus")
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	alerts, err := filepath.Abs("alerts.yml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, configuration, scrapeInterval, alerts, target), 0o600))

	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--storage.tsdb.retention.time=1h")
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	address, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		readLog(t, bufio.NewScanner(log), address)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		<-ended // Wait would close the pipe
		require.NoError(t, cmd.Wait())
	})

	p := &prometheusServer{http: &http.Client{Transport: new(http.Transport)}}
	t.Cleanup(p.http.CloseIdleConnections)
	select {
	case at := <-address:
		p.url = "http://" + at
	case <-ended:
		require.FailNow(t, "prometheus has ended")
	}
	return p
}

// readLog sends the address that Prometheus listens on, and logs what goes wrong.
func readLog(t *testing.T, log *bufio.Scanner, address chan<- string) {
	trouble := regexp.MustCompile(`level=(warn|error)`)
	for log.Scan() {
		if m := listening.FindStringSubmatch(log.Text()); m != nil {
			address <- m[1]
		}
		if trouble.Match(log.Bytes()) {
			t.Log(log.Text())
		}
	}
}

// find returns the path of a program of Debian's package prometheus.
func find(t *testing.T, program string) string {
	path, err := exec.LookPath(program)
	require.NoError(t, err, "install it: apt-get install --no-install-recommends prometheus")
	return path
}

// get decodes the data of an answer of the HTTP API.
func (p *prometheusServer) get(path string, query url.Values, data any) error {
	response, err := p.http.Get(p.url + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK { // 503: it has just been started
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return json.NewDecoder(response.Body).Decode(&struct{ Data any }{data})
}

// query returns the values of a PromQL expression.
func (p *prometheusServer) query(expr string) (values []string, err error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	err = p.get("/api/v1/query", url.Values{"query": {expr}}, &data)
	for _, r := range data.Result {
		values = append(values, fmt.Sprint(r.Value[1]))
	}
	return values, err
}

// requireSoon requires that an expression has these values when Prometheus has scraped.
func (p *prometheusServer) requireSoon(t *testing.T, expr string, want ...string) {
	t.Helper()
	soon(t, func(t *assert.CollectT) {
		got, err := p.query(expr)
		require.NoError(t, err)
		require.Equal(t, want, got, expr)
	})
}

// requireHealthyRules requires that it has evaluated each alert without an error.
func (p *prometheusServer) requireHealthyRules(t *testing.T) {
	t.Helper()
	soon(t, func(t *assert.CollectT) {
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		require.NoError(t, p.get("/api/v1/rules", nil, &data))
		require.Len(t, data.Groups, 1)
		require.NotEmpty(t, data.Groups[0].Rules)
		for _, rule := range data.Groups[0].Rules {
			require.Equal(t, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
		}
	})
}

// soon requires that a condition holds before long.
func soon(t *testing.T, condition func(*assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, servicetest.Soon, scrapeInterval/2)
}
