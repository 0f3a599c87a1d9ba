package link

// Causes say which errors are to be logged: each text once, and ten at most. The zero value
// is ready for use, by one goroutine at a time.
type Causes struct{ logged map[string]bool }

// maxCauses is how many causes are logged until Clear.
const maxCauses = 10

// IsNew reports whether a text is to be logged. If so, it counts as logged from then on.
func (c *Causes) IsNew(text string) bool {
	if c.logged[text] || len(c.logged) >= maxCauses {
		return false
	}
	if c.logged == nil {
		c.logged = make(map[string]bool)
	}
	c.logged[text] = true
	return true
}

// Clear forgets the texts: all are to be logged again.
func (c *Causes) Clear() { clear(c.logged) }
