package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// A table is printed in columns that are aligned.
type table struct {
	columns []column
	rows    [][]string
}

// A column is one of a table. Numbers are aligned to the right.
type column struct {
	name   string
	number bool
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print prints a table. Cells come from strangers, too: they are printed without control
// characters.
func (a *app) print(t *table) error {
	head := make([]string, len(t.columns))
	for i, c := range t.columns {
		head[i] = c.name
	}
	widths := make([]int, len(t.columns))
	for _, row := range append([][]string{head}, t.rows...) {
		for i, cell := range row {
			row[i] = printable(cell)
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	bold, plain := "", ""
	if a.coloured(a.stdout) {
		bold, plain = "\x1b[1m", "\x1b[0m"
	}
	var b strings.Builder
	b.WriteString(bold + t.line(head, widths) + plain + "\n")
	for _, row := range t.rows {
		b.WriteString(t.line(row, widths) + "\n")
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

func (t *table) line(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if t.columns[i].number {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// ago returns how long a time is past, such as "3m ago", "-" for no time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return short(now.Sub(t)) + " ago"
}

// short returns a duration in its largest unit.
func short(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// orDash returns a number, "-" if it is not known.
func orDash(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}
