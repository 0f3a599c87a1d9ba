package brokertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A rabbitNode is one RabbitMQ node. It has no testing.TB, and its methods return errors,
// since it may outlive the test that started it.
type rabbitNode struct {
	host *erlangHost
	dir  string
	name string // as Erlang knows it
	port int    // of AMQP
	dist int    // port of Erlang's distribution
	proc *process
}

// startRabbitNode starts a node with its files in dir. It joins the cluster of its peers, if
// any: they are the names of nodes of the same host.
func startRabbitNode(host *erlangHost, dir string, peers ...string) (*rabbitNode, error) {
	n := &rabbitNode{host: host, dir: dir}
	err := withFreePorts(2, func(ports []int) error {
		n.port, n.dist = ports[0], ports[1]
		n.name = fmt.Sprintf("brokertest-%d@localhost", n.port)
		if err := n.configure(peers); err != nil {
			return err
		}
		return n.start()
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (n *rabbitNode) addr() string { return loopback(n.port) }

func (n *rabbitNode) url() string { return "amqp://guest:guest@" + n.addr() + "/" }

// configure writes the configuration files. It enables no plugins, since the port of the
// management plugin is fixed and two nodes can't share it.
func (n *rabbitNode) configure(peers []string) error {
	var config strings.Builder
	if len(peers) > 0 {
		config.WriteString("cluster_formation.peer_discovery_backend = classic_config\n")
		for i, peer := range append(peers, n.name) {
			fmt.Fprintf(&config, "cluster_formation.classic_config.nodes.%d = %s\n", i+1, peer)
		}
	}
	return errors.Join(
		os.WriteFile(n.file("rabbitmq.conf"), []byte(config.String()), 0o600),
		os.WriteFile(n.file("enabled_plugins"), []byte("[].\n"), 0o600),
	)
}

func (n *rabbitNode) start() error {
	path, err := rabbitTool("rabbitmq-server")
	if err != nil {
		return err
	}
	cmd := exec.Command(path)
	cmd.Dir, cmd.Env = n.dir, n.env()
	n.proc, err = startProcess(cmd, n.file("rabbitmq.log"))
	if err != nil {
		return err
	}
	if err := n.proc.await(n.ready); err != nil {
		return errors.Join(err, n.proc.kill())
	}
	return nil
}

func (n *rabbitNode) file(name string) string { return filepath.Join(n.dir, name) }

func (n *rabbitNode) env() []string {
	return append(n.host.env(),
		"RABBITMQ_NODENAME="+n.name,
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(n.port),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(n.dist),
		"RABBITMQ_MNESIA_BASE="+n.file("mnesia"),
		"RABBITMQ_LOG_BASE="+n.file("log"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE="+n.file("pid"),
		"RABBITMQ_CONFIG_FILE="+n.file("rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+n.file("enabled_plugins"),
		// The script then becomes the node by exec, so that a signal to the process
		// reaches the node.
		"RABBITMQ_ALLOW_INPUT=true",
		// No busy waiting: the tests need the processors.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-noinput +sbwt none +sbwtdcpu none +sbwtdio none"+
			" -kernel inet_dist_use_interface {127,0,0,1}",
	)
}

// ready returns nil when clients can connect.
func (n *rabbitNode) ready() error {
	conn, err := amqp.DialConfig(n.url(), amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	return conn.Close()
}

// ctl runs rabbitmqctl against the node and returns what it prints.
func (n *rabbitNode) ctl(args ...string) (string, error) {
	path, err := rabbitTool("rabbitmqctl")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--quiet", "--node", n.name}, args...)...)
	cmd.Env = n.host.env()
	cmd.WaitDelay = time.Second // for helpers that hold its output open
	var out, warnings strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &warnings
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("brokertest: rabbitmqctl %q: %w\n%s%s", args, err, out.String(), warnings.String())
	}
	return out.String(), nil
}
