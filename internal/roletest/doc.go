// Package roletest has programs that use an end of a transport in the wrong role.
package roletest
