// Package readmetest holds README.md to what it says.
package readmetest
