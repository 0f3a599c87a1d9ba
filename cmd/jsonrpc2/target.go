package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
)

// A target is what the flags say of a broker or a server.
type target struct {
	broker  string
	source  string // of broker: the flag or a variable
	queue   string
	timeout time.Duration
	reply   string
	headers []string

	tlsCA, tlsCert, tlsKey string
	tlsInsecure            bool
}

// brokerVariables are those that take the place of -b, the first that is set.
var brokerVariables = []string{"BROKER_URL", "REDIS_URL", "CLOUDAMQP_URL"}

const exampleURL = "redis://localhost:6379"

func (t *target) define(root *cobra.Command, getenv func(string) string) {
	t.source = "-b"
	for _, name := range brokerVariables {
		if t.broker == "" && getenv(name) != "" {
			t.broker, t.source = getenv(name), "$"+name
		}
	}
	flags := root.PersistentFlags()
	flags.VarP((*brokerFlag)(t), "broker", "b", "`URL` of the broker or server (default $BROKER_URL, then $REDIS_URL, then $CLOUDAMQP_URL)")
	flags.StringVarP(&t.queue, "queue", "q", cmp.Or(getenv("QUEUE"), "calc"), "`name` of the queue, on a broker (default $QUEUE, then calc)")
	flags.Lookup("queue").DefValue = ""
	flags.StringVar(&t.tlsCA, "tls-ca", "", "`file` with the certificates to trust, in PEM")
	flags.StringVar(&t.tlsCert, "tls-cert", "", "`file` with the certificate of this client, in PEM")
	flags.StringVar(&t.tlsKey, "tls-key", "", "`file` with the key of that certificate, in PEM")
	flags.BoolVar(&t.tlsInsecure, "tls-insecure", false, "trust any certificate: for tests alone")

	noFile := cobra.ShellCompDirectiveNoFileComp
	completes(root, "broker", noFile|cobra.ShellCompDirectiveNoSpace,
		"redis://", "rediss://", "amqp://", "amqps://", "http://", "https://", "tcp://", "tls://", "unix:///")
	completes(root, "queue", noFile)
}

// defineCalls defines the flags of commands that call.
func (t *target) defineCalls(c *cobra.Command) {
	flags := c.Flags()
	flags.DurationVarP(&t.timeout, "timeout", "t", 30*time.Second, "how long a call may take; 0: no limit")
	oneOf(c, flags, &t.reply, "reply", "", []string{"list", "id"},
		"one reply list or queue for all calls, or one for each, named by its id, for servers that know no other way")
	flags.StringArrayVar(&t.headers, "header", nil, "a line of the HTTP header, as `'Name: value'`; may be given again")
	completes(c, "timeout", cobra.ShellCompDirectiveNoFileComp)
	completes(c, "header", cobra.ShellCompDirectiveNoFileComp)
}

// A brokerFlag is the flag of a target's URL. It never shows what it is set to, which may have
// a password.
type brokerFlag target

func (f *brokerFlag) String() string { return "" }
func (f *brokerFlag) Type() string   { return "URL" }
func (f *brokerFlag) Set(value string) error {
	f.broker, f.source = value, "-b"
	return nil
}

// url returns the parsed URL, if the other flags fit it. Its errors show nothing that could be
// a password, and so no error of net/url.
func (t *target) url() (*url.URL, error) {
	if t.broker == "" {
		return nil, misused("no broker: set -b or $BROKER_URL, such as: -b %s", exampleURL)
	}
	u, err := url.Parse(t.broker)
	if err != nil || u.Scheme == "" || !strings.HasPrefix(t.broker[len(u.Scheme):], "://") {
		return nil, misused("%s is no URL: write it like %s, with %%2F for a / in a password and %%40 for an @", t.source, exampleURL)
	}
	return u, t.check(u)
}

// brokerURL returns the parsed URL of a broker that has queues.
func (t *target) brokerURL() (*url.URL, error) {
	u, err := t.url()
	if err == nil && !isRedis(u) && !isRabbitMQ(u) {
		err = misused("%s:// has no queues: name a broker, such as -b %s", u.Scheme, exampleURL)
	}
	return u, err
}

func isRedis(u *url.URL) bool    { return u.Scheme == "redis" || u.Scheme == "rediss" }
func isRabbitMQ(u *url.URL) bool { return u.Scheme == "amqp" || u.Scheme == "amqps" }
func isHTTP(u *url.URL) bool     { return u.Scheme == "http" || u.Scheme == "https" }

var schemes = []string{"redis", "rediss", "amqp", "amqps", "http", "https", "tcp", "tls", "unix"}

// check returns an error if the URL can't be used, or a flag does not fit it.
func (t *target) check(u *url.URL) error {
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return misused("%s: there is nothing for %q: there are %s", t.source, u.Scheme+"://", strings.Join(schemes, ", "))
	case isRabbitMQ(u) && strings.Contains(u.EscapedPath()+u.RawQuery+u.Fragment, "@"): // perhaps behind a password with a /
		return misused("%s: there is an @ behind the host: write %%2F for a / in a password, and %%40 for an @", t.source)
	case u.Scheme == "unix" && u.Path == "":
		return misused("%s: the URL has no path: write it like unix:///run/calc.sock", t.source)
	case u.Scheme != "unix" && u.Host == "":
		return misused("%s: the URL has no host: write it like %s", t.source, exampleURL)
	case (u.Scheme == "tcp" || u.Scheme == "tls") && u.Port() == "":
		return misused("%s: the URL has no port: write it like %s://%s:4567", t.source, u.Scheme, u.Hostname())
	case t.timeout < 0:
		return misused("--timeout can't be %v: write 30s, for example", t.timeout)
	case len(t.headers) > 0 && !isHTTP(u):
		return misused("--header is for http:// and https://")
	}
	if _, err := redis.ParseURL(t.broker); isRedis(u) && err != nil {
		return misused("%s: bad URL: want %s://[user:password@]host:port[/db]", t.source, u.Scheme)
	}
	if _, err := amqp.ParseURI(t.broker); isRabbitMQ(u) && err != nil {
		return misused("%s: bad URL: want %s://[user:password@]host[:port][/vhost]", t.source, u.Scheme)
	}
	return nil
}

// tlsConfig returns the configuration that the flags say, nil for none.
func (t *target) tlsConfig(u *url.URL) (*tls.Config, error) {
	if t.tlsCA == "" && t.tlsCert == "" && t.tlsKey == "" && !t.tlsInsecure {
		return nil, nil
	}
	switch u.Scheme {
	case "rediss", "amqps", "https", "tls":
	default:
		return nil, misused("the --tls- flags are for rediss://, amqps://, https:// and tls://, not for %s://", u.Scheme)
	}
	config := &tls.Config{InsecureSkipVerify: t.tlsInsecure}
	if t.tlsCA != "" {
		text, err := os.ReadFile(t.tlsCA)
		if err != nil {
			return nil, misused("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, misused("--tls-ca: %s has no certificate in PEM", t.tlsCA)
		}
	}
	if (t.tlsCert == "") != (t.tlsKey == "") {
		return nil, misused("--tls-cert and --tls-key belong together")
	}
	if t.tlsCert != "" {
		own, err := tls.LoadX509KeyPair(t.tlsCert, t.tlsKey)
		if err != nil {
			return nil, usageError{fmt.Errorf("--tls-cert, --tls-key: %w", err)}
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
