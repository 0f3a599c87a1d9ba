package openrpc

import (
	"reflect"
	"strings"
)

// docKey returns the key of a type in Options.Doc.
func docKey(t reflect.Type) string {
	key, _, _ := strings.Cut(t.String(), "[") // without the arguments of a generic type
	return key
}

// methodDoc returns what the doc comment of a method says: its first sentence, the whole if
// there is more, and whether the method is deprecated.
func (r *reflector) methodDoc(docKey string) (summary, description string, deprecated bool) {
	text := r.doc[docKey]
	summary, _, _ = strings.Cut(text, "\n\n")
	summary = strings.ReplaceAll(summary, "\n", " ")
	if sentence, _, more := strings.Cut(summary, ". "); more {
		summary = sentence + "."
	}
	if summary != text {
		description = text
	}
	return summary, description, strings.HasPrefix(text, "Deprecated: ") || strings.Contains(text, "\n\nDeprecated: ")
}
