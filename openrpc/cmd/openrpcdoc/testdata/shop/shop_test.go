package shop

// InTest is in a test.
type InTest struct{}
