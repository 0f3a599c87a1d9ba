package docstest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

const deliveryPage = "docs/delivery.md"

// measured are the faults of FAULTS.md that each row of the page is about.
var measured = map[string]string{
	"Server drained or replaced":                  `servers replaced`,
	"Server killed":                               `server process killed`,
	"Server's connection cut":                     `server's connections cut|closes all connections`,
	"Server cut off, or slow to reach the broker": `servers? in a black hole|unheard|commands late`,
	"Client killed":                               `client process killed`,
	"Client's connection cut":                     `client's connections cut|closes all connections`,
	"Client cut off":                              `client in a black hole`,
	"Broker restarted, data kept":                 `killed.*, with AOF|killed, a (durable|quorum) queue`,
	"Broker restarted, data lost":                 `without persistence|old snapshot|killed, a plain queue`,
	"Failover of the broker":                      `Sentinel|Cluster, master|cluster, leader`,
	"Broker stalls":                               `^(Redis|RabbitMQ) suspended`,
	"Queue deleted or replaced":                   `(list|queue) (deleted|replaced)`,
	"Broker out of memory or disk":                `out of memory|alarm|can't save`,
	"Broker's confirmation lost":                  `dropped$`,
	"Message over the broker's limit":             `messages over its limit`,
	"Message over the server's limit":             `^$`, // see the tests of the codec
	"Message over the client's limit":             `messages over the client's limit`,
	"Broken messages of strangers":                `broken messages`,
	"A proxy answers in the server's place":       `proxy says`,
	"A request kills each server":                 `^$`, // see the tests of the transports
}

// A measurement is a row of FAULTS.md.
type measurement struct {
	fault                       string
	failed, unsent, again, lost string
	retries                     bool // calls may be sent again although they may have run
}

func measurements(t *testing.T) (all []measurement) {
	t.Helper()
	for _, cells := range markdown.Rows(readText(t, "internal/faulttest/FAULTS.md"))[1:] {
		require.Len(t, cells, 10)
		fault, retry := strings.CutPrefix(cells[0], "Retry: ")
		all = append(all, measurement{
			fault:  fault,
			failed: cells[3], unsent: cells[4], again: cells[6], lost: cells[7],
			retries: retry && !strings.Contains(fault, "not Idempotent"),
		})
	}
	return all
}

// column returns the column of the page's table that a fault was measured for.
func (m measurement) column() int {
	switch {
	case strings.Contains(m.fault, "Redis") && strings.Contains(m.fault, "at least once"):
		return 2
	case strings.Contains(m.fault, "Redis"):
		return 1
	case strings.Contains(m.fault, "RabbitMQ") && strings.Contains(m.fault, "at most once"):
		return 4
	case strings.Contains(m.fault, "RabbitMQ"):
		return 3
	case strings.Contains(m.fault, "HTTP"):
		return 5
	}
	return 6 // TCP
}

// requireSaidBy requires that a cell says whatever was seen.
func (m measurement) requireSaidBy(t *testing.T, cell string) {
	t.Helper()
	require.NotEqual(t, "–", cell, m.fault)
	if strings.Contains(m.failed, "timeout") {
		require.Contains(t, cell, "ErrTimeout", m.fault)
	}
	if strings.Contains(m.failed, "reply lost") {
		require.Contains(t, cell, "ErrReplyLost", m.fault)
	}
	if m.unsent != "0" {
		require.Regexp(t, "Err(Unavailable|Overloaded|NoServer|TooLarge|NotRun)", cell, m.fault)
	}
	if m.lost != "0" {
		require.Regexp(t, `\blost\b`, strings.ReplaceAll(cell, "none lost", ""), m.fault)
	}
	if m.again != "0" && !m.retries {
		require.Contains(t, cell, "twice", m.fault)
	}
}

// The table of faults has a row for each fault that is measured, and says all that was seen.
func TestFaultsOfDelivery(t *testing.T) {
	t.Parallel()
	section, found := markdown.Section(readText(t, deliveryPage), "What each fault does")
	require.True(t, found)
	rows := markdown.Rows(section)[1:]
	require.Len(t, rows, len(measured))
	said := make(map[string]bool)
	for _, cells := range rows {
		require.Len(t, cells, 7, cells[0])
		faults, known := measured[cells[0]]
		require.True(t, known, cells[0])
		for i, cell := range cells {
			require.NotEmpty(t, cell, "%s, column %d", cells[0], i)
			if strings.HasPrefix(cell, "the same") {
				cells[i] = cells[i-1] + cell
			}
		}
		for _, m := range measurements(t) {
			if regexp.MustCompile(faults).MatchString(m.fault) {
				m.requireSaidBy(t, cells[m.column()])
				said[m.fault] = true
			}
		}
	}
	for _, m := range measurements(t) {
		require.True(t, said[m.fault], "no row is about %q", m.fault)
	}
}

// The page names no sentinel that does not exist.
func TestSentinelsOfDelivery(t *testing.T) {
	t.Parallel()
	declared := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\t(Err[A-Za-z]+) += errors\.New`).FindAllStringSubmatch(readText(t, "error.go"), -1) {
		declared[m[1]] = true
	}
	require.Len(t, declared, 10)
	for _, name := range regexp.MustCompile(`\bErr[A-Z][A-Za-z]+`).FindAllString(readText(t, deliveryPage), -1) {
		require.True(t, declared[name], name)
	}
}

// The page's program prints what the page says.
func TestProgramOfDelivery(t *testing.T) {
	t.Parallel()
	text := readText(t, deliveryPage)
	programs, outputs := markdown.Blocks(text, "go"), markdown.Blocks(text, "text")
	require.Len(t, programs, 1)
	require.Len(t, outputs, 1)
	require.Equal(t, outputs[0], runGo(t, map[string]string{"main.go": programs[0]}, "run", "."))
}
