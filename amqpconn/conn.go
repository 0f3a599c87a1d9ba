package amqpconn

import "fmt"

// Dial returns a ClientConn that calls the servers of a queue. url is
// amqp://user:password@host:port/vhost, or amqps:// for TLS. Dial does not wait for the
// broker: its error is about the URLs, the queue's name and the options.
func Dial(url string, queue string, opts *DialOptions) (*ClientConn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "client")
	if err == nil && opts.Declare != nil {
		err = opts.Declare.check(queue)
	}
	if err == nil && opts.MaxBacklog < 0 {
		err = fmt.Errorf("amqpconn: queue %q: MaxBacklog is %d, less than 0", queue, opts.MaxBacklog)
	}
	if err != nil {
		return nil, err
	}
	return newClientConn(d, *opts), nil
}

// Listen returns a ServerConn that serves a queue. url is as in Dial. Listen does not
// wait for the broker: its error is about the URLs, the queue's name and the options. No
// request is taken before the first ReadRequest.
func Listen(url string, queue string, opts *ListenOptions) (*ServerConn, error) {
	if opts == nil {
		opts = &ListenOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "server")
	if err == nil {
		err = opts.check(queue)
	}
	if err != nil {
		return nil, err
	}
	return newServerConn(d, queue, *opts), nil
}
