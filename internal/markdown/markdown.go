// Package markdown finds code blocks, sections and tables in the module's pages, for the
// tests that hold the pages to what they say.
package markdown

import (
	"regexp"
	"strings"
)

// fence is a fenced code block: its language and its text.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// Blocks returns the fenced code blocks of a language in text.
func Blocks(text, language string) []string {
	var blocks []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			blocks = append(blocks, m[2])
		}
	}
	return blocks
}

// Section returns what stands below a heading of the second level, up to the next one, and
// reports whether there is such a heading.
func Section(text, heading string) (string, bool) {
	_, section, found := strings.Cut("\n"+text, "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	return section, found
}

// Rows returns the rows of the tables in text, without the lines of dashes. The first row
// of a table is its head.
func Rows(text string) [][]string {
	var rows [][]string
	for line := range strings.Lines(text) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "|")
		if !ok || strings.Trim(line, "|-: ") == "" && strings.Contains(line, "-") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}
