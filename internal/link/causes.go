package link

// Causes are texts of errors that were logged: each once, and ten at most. The zero value is
// ready for use.
type Causes struct{ logged map[string]bool }

// maxCauses is how many causes are logged.
const maxCauses = 10

// IsNew reports whether a text is to be logged. It then counts as logged.
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

// Clear has all texts logged again.
func (c *Causes) Clear() { clear(c.logged) }
