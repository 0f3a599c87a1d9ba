package main

import (
	"errors"
	"flag"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	exampleURL   = "redis://localhost:6379" // what messages propose for -broker
	defaultQueue = "calc"
)

// flagKinds are the groups of flags that a command has, as a bit set.
type flagKinds int

const (
	brokerFlags flagKinds = 1 << iota
	callFlags
	serveFlags
)

const brokerUsage = `  -broker URL    redis://host:port/db, amqp://host:port/vhost, rediss://…, amqps://…,
                 or without a broker http://host:port/path, to call https://… too,
                 tcp://host:port or unix:///path/to.sock
                 (default $BROKER_URL, then $REDIS_URL, then $CLOUDAMQP_URL)
  -queue NAME    with a broker: the queue's name (default "calc")
`

const callUsage = `  -timeout D     how long a call may take, such as 500ms or 1m (default 30s)
  -reply list    with a broker: one reply list or queue for all calls (the default), or
  -reply id      one for each, for servers that know no other way
`

const serveUsage = `  -prefetch N    with a broker: how many calls serve takes at once (default 128
                 with Redis, 64 with RabbitMQ)
  -at-least-once with a broker: keeps each call until it is answered, so that another
                 server runs it again if this one dies; with RabbitMQ that is always so
  -lease D       with Redis and -at-least-once: for how long a server may be silent
                 before others run what it had taken (default 30s)
  -durable       serve creates a missing RabbitMQ queue durable, not plain, or
  -quorum        as a quorum queue; scripts that declare it plain then fail
`

func (k flagKinds) usage() string {
	text := "flags:\n" + brokerUsage
	if k&callFlags != 0 {
		text = "flags, before or behind the numbers:\n" + brokerUsage + callUsage
	}
	if k&serveFlags != 0 {
		text += serveUsage
	}
	return text
}

// flags are the values of all flags. Those that a command does not have stay zero.
type flags struct {
	broker  string // a URL, not yet parsed
	source  string // where broker comes from: -broker or a variable, such as $REDIS_URL
	queue   string
	timeout time.Duration
	reply   string
	durable bool
	quorum  bool

	prefetch    int // 0 stands for the default of the transport
	atLeastOnce bool
	lease       time.Duration // 0 stands for the default of redisconn
}

// define adds the flags of some kinds to set, with their defaults. The usage of each
// flag.Flag is an example of its value: setFlag's errors propose it.
func (f *flags) define(set *flag.FlagSet, kinds flagKinds) {
	if kinds&brokerFlags != 0 {
		f.broker, f.source = firstEnv("BROKER_URL", "REDIS_URL", "CLOUDAMQP_URL")
		set.Func("broker", exampleURL, func(url string) error {
			f.broker, f.source = url, "-broker"
			return nil
		})
		set.StringVar(&f.queue, "queue", defaultQueue, defaultQueue)
	}
	if kinds&callFlags != 0 {
		f.timeout = 30 * time.Second
		set.Func("timeout", "30s", f.setTimeout)
		set.StringVar(&f.reply, "reply", "list", "list")
	}
	if kinds&serveFlags != 0 {
		set.BoolVar(&f.durable, "durable", false, "true")
		set.BoolVar(&f.quorum, "quorum", false, "true")
		set.BoolVar(&f.atLeastOnce, "at-least-once", false, "true")
		set.Func("prefetch", "64", f.setPrefetch)
		set.Func("lease", "30s", f.setLease)
	}
}

func (f *flags) setTimeout(value string) (err error) {
	f.timeout, err = time.ParseDuration(value)
	if err == nil && f.timeout <= 0 {
		err = errors.New("not more than 0")
	}
	return err
}

func (f *flags) setPrefetch(value string) (err error) {
	f.prefetch, err = strconv.Atoi(value)
	if err == nil && f.prefetch <= 0 {
		err = errors.New("not more than 0")
	}
	return err
}

// minLease is the shortest lease that redisconn.Listen takes. A shorter one is a usageError,
// before calc waits for a broker.
const minLease = 100 * time.Millisecond

func (f *flags) setLease(value string) (err error) {
	f.lease, err = time.ParseDuration(value)
	if err == nil && f.lease < minLease {
		err = errors.New("too short")
	}
	return err
}

// parse parses the arguments behind the command's name. If one of them is -h or -help, it
// returns flag.ErrHelp. A wrong argument is a usageError.
func (c subcommand) parse(args []string) (f flags, operands []string, err error) {
	set := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.define(set, c.flags)
	operands, err = c.interleaved(set, args)
	switch {
	case err != nil:
		return f, nil, err
	case c.operands == "" && len(operands) > 0:
		return f, nil, misused("calc %s takes no operands: write calc %s", c.name, strings.TrimSpace(c.name+" "+c.example))
	case set.Lookup("queue") != nil && f.queue == "":
		return f, nil, misused(`the queue has no name: without -queue it is "calc"`)
	case set.Lookup("reply") != nil && f.reply != "list" && f.reply != "id":
		return f, nil, misused("-reply is list or id, not %s", quoted(f.reply))
	}
	return f, operands, nil
}

// interleaved sets the flags, before and behind operands, and returns the operands. A
// FlagSet's own Parse stops at the first operand, and takes a negative number for a flag.
func (c subcommand) interleaved(set *flag.FlagSet, args []string) (operands []string, err error) {
	for len(args) > 0 {
		arg, rest := args[0], args[1:]
		switch {
		case arg == "--":
			return append(operands, rest...), nil
		case !isFlag(arg):
			operands, args = append(operands, arg), rest
		default:
			args, err = c.setFlag(set, arg, rest)
			if err != nil {
				return nil, err
			}
		}
	}
	return operands, nil
}

// setFlag sets the flag that arg names. The value is what arg has behind a =, else true for
// a bool flag, else the first of the arguments in after. setFlag returns the arguments that
// are left.
func (c subcommand) setFlag(set *flag.FlagSet, arg string, after []string) (left []string, err error) {
	name := flagName(arg)
	if name == "h" || name == "help" {
		return nil, flag.ErrHelp
	}
	known := set.Lookup(name)
	if known == nil {
		return nil, misused("calc %s has no flag %s: %s", c.name, quoted("-"+name), flagNames(set))
	}
	_, value, ok := strings.Cut(arg, "=")
	alone, _ := known.Value.(interface{ IsBoolFlag() bool })
	switch {
	case ok:
	case alone != nil:
		value = "true"
	case len(after) == 0:
		return nil, misused("-%s has no value: write -%s %s, for example", name, name, known.Usage)
	default:
		value, after = after[0], after[1:]
	}
	if err := set.Set(name, value); err != nil {
		return nil, misused("-%s can't be %s: write -%s %s, for example", name, quoted(value), name, known.Usage)
	}
	return after, nil
}

// flagNames returns a clause that lists the flags of a command.
func flagNames(set *flag.FlagSet) string {
	var names []string
	set.VisitAll(func(f *flag.Flag) { names = append(names, "-"+f.Name) })
	if len(names) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(names, ", ")
}

// isFlag reports whether an argument is a flag. A negative number is an operand, and so is
// one with a typo, such as -5x: the error about it then says that it is not a number.
func isFlag(arg string) bool {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok || name == "" {
		return false
	}
	_, err := strconv.ParseFloat(arg, 64) // takes -Inf, too
	return err != nil && !strings.ContainsAny(name[:1], ".0123456789")
}

// flagName returns the name in -name, --name and -name=value. It returns "" for an argument
// without a dash.
func flagName(arg string) string {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "-"), "=")
	return name
}

// firstEnv returns the value of the first variable that is not empty, and its name with a $.
func firstEnv(names ...string) (value, name string) {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value, "$" + name
		}
	}
	return "", ""
}
