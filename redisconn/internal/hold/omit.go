package hold

// A Rule is one that the simulator has a Worker leave out, to see that it is missed.
type Rule string

const (
	GapRule   Rule = "gap"   // what is silent over a gap between two beats is not dead
	LeaseRule Rule = "lease" // nothing starts unless the own lease holds
)

// Omit has the worker leave a rule out.
func (w *Worker) Omit(r Rule) { w.omitted = r }
