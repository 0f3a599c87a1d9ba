package redisconn

// A failure is pushes that failed together, and why.
type failure struct {
	pushes []push
	fault  fault
	err    error
}

// A fault says what is at fault for a failure. The pushes are tried again accordingly: after a
// nodeFault together, as soon as the node works, otherwise each one alone.
type fault int

const (
	nodeFault fault = iota // the node, or the way to it
	connFault              // the connection broke, perhaps because of what was pushed
	listFault              // Redis refused this push, and may accept others
)

// faultOf returns what is at fault if a command failed with an error.
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

// nodeRefusals are the codes of refusals that are not about the list or the value.
var nodeRefusals = []string{
	"OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS",
	"UNBLOCKED",
}
