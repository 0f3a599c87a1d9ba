package brokertest

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// rabbitScripts is where Debian keeps RabbitMQ's own scripts. Those in the PATH are wrappers:
// they switch to a user who can't write to a test's folders.
const rabbitScripts = "/usr/lib/rabbitmq/bin"

// rabbitTool returns the path of a program that RabbitMQ comes with or needs.
func rabbitTool(name string) (string, error) {
	return findTool(name, "rabbitmq-server", rabbitScripts)
}

// An erlangHost is what the nodes of one cluster share: a home folder with their cookie, and a
// port mapper (epmd) of their own.
type erlangHost struct {
	home string
	port int // of epmd
	epmd *process
}

// startErlangHost starts a port mapper with its files in dir. The first node would start one
// if there was none, but that would outlive the node.
func startErlangHost(dir string) (*erlangHost, error) {
	h := &erlangHost{home: dir}
	err := withFreePorts(1, func(ports []int) error {
		h.port = ports[0]
		return h.start()
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (h *erlangHost) start() error {
	path, err := rabbitTool("epmd")
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "-port", strconv.Itoa(h.port), "-address", "127.0.0.1")
	h.epmd, err = startProcess(cmd, filepath.Join(h.home, "epmd.log"))
	if err != nil {
		return err
	}
	if err := h.epmd.await(h.ready); err != nil {
		return errors.Join(err, h.epmd.kill())
	}
	return nil
}

func (h *erlangHost) ready() error {
	conn, err := net.Dial("tcp", loopback(h.port))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (h *erlangHost) kill() error { return h.epmd.kill() }

// env returns the environment of the nodes and of their command-line tools. It keeps out the
// configuration of a RabbitMQ that is installed on the machine.
func (h *erlangHost) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + h.home,
		"LANG=C.UTF-8",
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT=" + strconv.Itoa(h.port),
		"RABBITMQ_CONF_ENV_FILE=" + filepath.Join(h.home, "none"),
	}
}
