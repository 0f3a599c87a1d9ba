package redisconn

// A failure has pushes that failed together, and why.
type failure struct {
	pushes []push
	fault  fault
	err    error
}

// A fault says what is at fault for a failure.
type fault int

const (
	nodeFault fault = iota // the node, or the way to it
	connFault              // the connection broke, perhaps because of what was pushed
	listFault              // Redis refused this push, and may accept others
)

// faultOf returns what is at fault for an error.
func faultOf(err error) fault {
	switch {
	case isRefusal(err, nodeRefusals...):
		return nodeFault
	case isRefusal(err, ""):
		return listFault
	case certainlyNotRun(err, false):
		return nodeFault
	}
	return connFault
}

// nodeRefusals are how a refusal begins that is not about the list or the value.
var nodeRefusals = []string{
	"OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS",
	"UNBLOCKED",
}
