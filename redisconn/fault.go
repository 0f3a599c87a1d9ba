package redisconn

// A failure is pushes that did not arrive, as far as is known.
type failure struct {
	pushes []push
	fault  fault
	err    error
}

// A fault says whose a failure is.
type fault int

const (
	nodeFault fault = iota // of the node, or of the way to it
	lostFault              // the connection broke: perhaps for what was pushed
	listFault              // the push was refused, others may not be
)

// faultOf tells whose fault an error is.
func faultOf(err error) fault {
	switch {
	case isRefusal(err, nodeRefusals...):
		return nodeFault
	case isRefusal(err, ""):
		return listFault
	case certainlyNotRun(err, false):
		return nodeFault
	}
	return lostFault
}

// nodeRefusals are how Redis begins its refusals of whatever is pushed.
var nodeRefusals = []string{
	"OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS",
	"UNBLOCKED",
}
