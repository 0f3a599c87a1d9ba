package docstest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const operationsPage = "operations.md"

// The commands for a Redis, and the operator's session, print what the page says.
func TestConsoleOfOperations(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	servicetest.Serve(t, servicetest.Must(redisconn.Listen(rdb, "calc", &redisconn.ListenOptions{Logger: servicetest.Quiet})), quietServer)
	servicetest.Eventually(t, func() bool {
		servers, err := redisconn.Servers(t.Context(), rdb, "calc")
		return err == nil && len(servers) == 1
	})
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "jsonrpc2"), ".")
	build.Dir = "../../cmd/jsonrpc2"
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, port, _ := strings.Cut(broker.Addr, ":")
	shim := fmt.Sprintf("#!/bin/sh\nPATH=${PATH#*:} exec redis-cli -p %s \"$@\"\n", port)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "redis-cli"), []byte(shim), 0o700))
	// After the build, which may take a minute: the page says how old they are.
	bury(t, rdb, 30*time.Hour, `{"jsonrpc":"2.0","id":7,"method":"report"}`)
	bury(t, rdb, 7*time.Minute, `{"jsonrpc":"2.0","id":"9f86d081884c7d65","method":"add","params":[2,3.1]}`)
	bury(t, rdb, 3*time.Minute, `{"jsonrpc":"2.0","id":"8d969eef6ecad3c2","method":"add","params":[4,4]}`)
	for _, block := range fencedBlocks(t, operationsPage, "console") {
		playConsole(t, block, []string{"PATH=" + folder + ":" + os.Getenv("PATH"), "BROKER_URL=" + broker.URL(), "QUEUE=calc"})
	}
}

// The page tells of each alert of promrpc, and of no other.
func TestAlertsInPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../promrpc/alerts.yml")
	require.NoError(t, err)
	var file struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	var alerts []string
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts = append(alerts, rule.Alert)
		}
	}
	named := regexp.MustCompile(`JSONRPC\w+`).FindAllString(docPage(t, operationsPage), -1)
	slices.Sort(named)
	require.ElementsMatch(t, alerts, slices.Compact(named))
}

// drainGrace returns how long the page's program lets calls run when it is drained.
func drainGrace(t *testing.T) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`Grace: (\d+) \* time.Second`).FindStringSubmatch(docPage(t, operationsPage))
	require.NotNil(t, m)
	seconds, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return time.Duration(seconds) * time.Second
}

// The page's program serves, says when it is ready, and ends by SIGTERM.
func TestProgramInPage(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	queue := t.Name()
	folder := t.TempDir()
	source, program := filepath.Join(folder, "main.go"), filepath.Join(folder, "program")
	text := fencedBlocks(t, operationsPage, "go")[0]
	require.Contains(t, text, `"calc", nil`)
	text = strings.ReplaceAll(text, `"calc", nil`, strconv.Quote(queue)+", nil")
	require.NoError(t, os.WriteFile(source, []byte(text), 0o600))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, source)
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	port := brokertest.FreePort(t)
	var log bytes.Buffer
	run := exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "CLOUDAMQP_URL="+broker.URL(), "PORT="+port)
	run.Stdout, run.Stderr = &log, &log
	require.NoError(t, run.Start())
	servicetest.Eventually(t, func() bool {
		response, err := http.Get("http://127.0.0.1:" + port + "/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
	client := jsonrpc2.NewClient(servicetest.Must(amqpconn.Dial(broker.URL(), queue, &amqpconn.DialOptions{Logger: servicetest.Quiet})),
		&jsonrpc2.ClientOptions{Service: "Calc", Logger: servicetest.Quiet})
	defer client.Close()
	servicetest.Eventually(t, func() bool { _, err := servicetest.Add(client, 1, 5.1); return err == nil })
	require.NoError(t, run.Process.Signal(syscall.SIGTERM))
	require.NoError(t, run.Wait(), "%s", &log)
}

// The systemd unit is one, and leaves the program the time that it needs to drain.
func TestUnitInPage(t *testing.T) {
	t.Parallel()
	unit := fencedBlocks(t, operationsPage, "ini")[0]
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(unit)
	require.NotNil(t, m)
	seconds, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Duration(seconds)*time.Second, drainGrace(t)+5*time.Second)

	analyze, err := exec.LookPath("systemd-analyze")
	require.NoError(t, err, "apt-get install systemd")
	require.Contains(t, unit, "/usr/local/bin/calc")
	file := filepath.Join(t.TempDir(), "calc.service")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/calc", "/bin/true")), 0o600))
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "calc.service:", "a warning")
}

// A deployment is what the test looks at in the page's.
type deployment struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   map[string]any
	Spec       struct {
		Replicas int
		Strategy map[string]any
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []struct {
					Name, Image    string
					EnvFrom        []any `yaml:"envFrom"`
					ReadinessProbe struct {
						HTTPGet       struct{ Path, Port string } `yaml:"httpGet"`
						PeriodSeconds int                         `yaml:"periodSeconds"`
					} `yaml:"readinessProbe"`
					Lifecycle struct {
						PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
					}
				}
			}
		}
	}
}

// The Kubernetes deployment has no members that the test does not know, and leaves the
// program the time that it needs to drain.
func TestDeploymentInPage(t *testing.T) {
	t.Parallel()
	var d deployment
	decoder := yaml.NewDecoder(strings.NewReader(fencedBlocks(t, operationsPage, "yaml")[0]))
	decoder.KnownFields(true)
	require.NoError(t, decoder.Decode(&d))
	require.Equal(t, "apps/v1 Deployment", d.APIVersion+" "+d.Kind)
	require.Equal(t, d.Spec.Selector.MatchLabels, d.Spec.Template.Metadata.Labels)
	pod := d.Spec.Template.Spec
	require.Len(t, pod.Containers, 1)
	c := pod.Containers[0]
	require.Equal(t, "/ready", c.ReadinessProbe.HTTPGet.Path)
	sleep := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	require.GreaterOrEqual(t, time.Duration(pod.TerminationGracePeriodSeconds)*time.Second, sleep+drainGrace(t)+5*time.Second)
}
