package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

func TestSpread(t *testing.T) {
	tests := map[string]struct{ heights, want []vg.Length }{
		"apart":         {[]vg.Length{10, 30, 50}, []vg.Length{10, 30, 50}},
		"close":         {[]vg.Length{10, 12, 50}, []vg.Length{10, 20, 50}},
		"at the top":    {[]vg.Length{90, 98, 99}, []vg.Length{80, 90, 100}},
		"at the bottom": {[]vg.Length{0, 0, 0}, []vg.Length{0, 10, 20}},
		"none":          {nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, spread(test.heights, 10, 0, 100))
		})
	}
}

func TestDecadeTicks(t *testing.T) {
	var labels []string
	for _, tick := range decadeTicks(0.1, 1e6) {
		if !tick.IsMinor() {
			labels = append(labels, tick.Label)
		}
	}
	require.Equal(t, []string{"0.1", "1", "10", "100", "1k", "10k", "100k", "1M"}, labels)
}

// Each panel has the name of each curve, in a font of at least 14 points.
func TestPlot(t *testing.T) {
	var curves []curve
	for i, p := range plottedTransports() {
		c := curve{plotted: p}
		for _, n := range plottedCallers() {
			xy := plotter.XY{X: float64(n), Y: math.Pow(float64(n), float64(i+1)/10)}
			c.rate, c.p50, c.p99 = append(c.rate, xy), append(c.p50, xy), append(c.p99, xy)
		}
		curves = append(curves, c)
	}
	file := filepath.Join(t.TempDir(), "plot.svg")
	require.NoError(t, drawCurves(curves, file))
	svg, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, c := range curves {
		require.Regexp(t, `(?s)(font-size:14px[^<]*>`+c.name+`</text>.*){3}`, string(svg))
	}
	require.NotRegexp(t, `font-size:(\d|1[0-3])px`, string(svg))
}
