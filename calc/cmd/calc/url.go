package main

import (
	"net/url"
	"strings"
)

// brokerURL parses the URL of the broker. Its errors show nothing that could be a password;
// those of net/url do.
func (f flags) brokerURL() (*url.URL, error) {
	if f.broker == "" {
		return nil, misused("no broker: set -broker or $BROKER_URL, such as: -broker %s", exampleURL)
	}
	u, err := url.Parse(f.broker)
	if err != nil {
		return nil, f.noURL()
	}
	name, _ := carrier(u.Scheme)
	slashes := strings.HasPrefix(f.broker[len(u.Scheme):], "://")
	switch {
	case slashes && name != "":
		return u, nil
	case slashes:
		return nil, misused("%s: there is no broker for %q: there are redis://, rediss://, amqp://, amqps://, http://, https://, tcp:// and unix://", f.source, u.Scheme)
	case name != "":
		return nil, f.badURL(u)
	default:
		return nil, f.noURL()
	}
}

// noURL returns the error for a value that is no URL, with what to write if that is clear.
func (f flags) noURL() error {
	if written := suggest(f.broker); written != "" {
		return misused("%s: %q is no URL: write %s", f.source, f.broker, written)
	}
	return misused("%s: the URL can't be parsed: write it like redis://user:password@host:6379, with %%2F for a / in the password, %%40 for an @", f.source)
}

// badURL returns the error for a URL whose scheme is known and whose rest is wrong.
func (f flags) badURL(u *url.URL) error {
	name, shape := carrier(u.Scheme)
	written := suggest(f.broker)
	if written == "" {
		return misused("%s: bad %s URL: want %s://%s", f.source, name, u.Scheme, shape)
	}
	return misused("%s: bad %s URL: write %s", f.source, name, written)
}

// carrier returns the name of what carries calls to URLs of a scheme, and the shape of such
// a URL behind the ://. Both are "" if the scheme is unknown.
func carrier(scheme string) (name, shape string) {
	switch scheme {
	case "redis", "rediss":
		return "Redis", "[user:password@]host:port[/db]"
	case "amqp", "amqps":
		return "RabbitMQ", "[user:password@]host[:port][/vhost]"
	case "http", "https":
		return "HTTP", "host[:port]/path"
	case "tcp":
		return "TCP", "host:port"
	case "unix":
		return "Unix", "/path/to.sock"
	default:
		return "", ""
	}
}

// suggest returns what to write in place of an address that lacks its scheme or its slashes:
//
//	/path, unix:/path       unix:///path
//	redis:host              redis://host, and so for each known scheme
//	host:6379               redis://, by the port
//	host:5672, host:5671    amqp://, amqps://, by the port
//	host                    the schemes to choose from
//
// It returns "" for anything else, and for what may hold a password.
func suggest(text string) string {
	if strings.Contains(text, "://") || strings.ContainsAny(text, "@?") {
		return ""
	}
	path, isUnix := strings.CutPrefix(text, "unix:")
	if path = strings.TrimLeft(path, "/"); path != "" && (isUnix || isPath(text)) {
		return "unix:///" + path
	}
	scheme, address, _ := strings.Cut(text, ":")
	name, _ := carrier(scheme)
	known := name != "" && strings.Trim(address, "0123456789") != "" // redis:6379 is a host named redis
	if !known {
		scheme, address = "redis", text
	}
	address = strings.TrimLeft(address, "/")
	if strings.HasPrefix(address, ":") {
		address = "localhost" + address
	}
	u, err := url.Parse(scheme + "://" + address)
	if err != nil || u.Hostname() == "" || strings.HasSuffix(u.Hostname(), ":") {
		return ""
	}
	switch {
	case known || u.Port() == "6379":
		return scheme + "://" + address
	case u.Port() == "5671":
		return "amqps://" + address
	case u.Port() == "5672":
		return "amqp://" + address
	case u.Port() == "" || u.Path != "":
		return "redis://" + address + " for Redis, amqp://" + address + " for RabbitMQ or http://" + address + " for HTTP"
	default:
		return "redis://" + address + " for Redis, amqp://" + address + " for RabbitMQ, http://" + address + " for HTTP or tcp://" + address + " for TCP"
	}
}

// isPath reports whether text is the path of a file. //host is an address without a scheme.
func isPath(text string) bool {
	return strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//")
}

// shown returns the URL to show for u: with the address in full, as with a default port, and
// without the password and the query, which may hold secrets.
func shown(u *url.URL, address string) string {
	bare := url.URL{Scheme: u.Scheme, User: u.User, Host: address, Path: u.Path}
	return bare.Redacted()
}
