package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A plotted is a transport with a curve in the plot.
type plotted struct {
	transport
	color color.Color
	rival bool // not ours: dashed
}

func plottedTransports() []plotted {
	return []plotted{
		{transport: streamOurs, color: rgb(0x1b7837)},
		{transport: redisOurs, color: rgb(0xe31a1c)},
		{transport: redisBatch, color: rgb(0x8c0d25)},
		{transport: rabbitOurs, color: rgb(0xe08214)},
		{transport: rabbitBatch, color: rgb(0x8c510a)},
		{transport: httpOurs, color: rgb(0x3690c0)},
		{transport: httpBatch, color: rgb(0x08306b)},
		{transport: natsMicro, color: rgb(0x525252), rival: true},
		{transport: grpcGo, color: rgb(0x88419d), rival: true},
	}
}

func rgb(hex uint32) color.Color {
	return color.RGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 0xff}
}

// plottedCallers returns the numbers of callers on the x axis.
func plottedCallers() []int { return []int{1, 8, 64, 512, 4096} }

// A curve has the results of one transport, over the number of callers.
type curve struct {
	plotted
	rate, p50, p99 plotter.XYs // calls per second, milliseconds
}

// drawPlot measures all transports and draws them into an SVG file.
func drawPlot(env *environment, file string) error {
	var curves []curve
	for _, t := range plottedTransports() {
		c, err := measureCurve(env, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		curves = append(curves, c)
	}
	return drawCurves(curves, file)
}

// drawCurves draws curves into an SVG file.
func drawCurves(curves []curve, file string) error {
	var plots []*plot.Plot
	for _, p := range panels() {
		drawn, err := p.draw(curves)
		if err != nil {
			return err
		}
		plots = append(plots, drawn)
	}
	return save(file, plots...)
}

func measureCurve(env *environment, t plotted) (curve, error) {
	c := curve{plotted: t}
	for _, callers := range plottedCallers() {
		l, err := measureLatency(env, t.with(callers))
		if err != nil {
			return c, err
		}
		x := float64(callers)
		c.rate = append(c.rate, plotter.XY{X: x, Y: l.rate})
		c.p50 = append(c.p50, plotter.XY{X: x, Y: milliseconds(l.p50)})
		c.p99 = append(c.p99, plotter.XY{X: x, Y: milliseconds(l.p99)})
		fmt.Printf("%-19s %5d callers %8.0f calls/s  p50 %8v  p99 %8v\n",
			t.name, callers, l.rate, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond))
	}
	return c, nil
}

// A panel is one of the plots in the file, which are one below the other.
type panel struct {
	title string
	of    func(curve) plotter.XYs
}

func panels() []panel {
	return []panel{
		{"Calls per second", func(c curve) plotter.XYs { return c.rate }},
		{"Time of a call, median, ms", func(c curve) plotter.XYs { return c.p50 }},
		{"Time of a call, 99th percentile, ms", func(c curve) plotter.XYs { return c.p99 }},
	}
}

// draw draws the curves of a panel, each with its name at its end.
func (p panel) draw(curves []curve) (*plot.Plot, error) {
	drawn := newPlot(p.title)
	var names endLabels
	for i, c := range curves {
		line, points, err := plotter.NewLinePoints(p.of(c))
		if err != nil {
			return nil, err
		}
		line.Color, points.Color = c.color, c.color
		line.Width, points.Shape = vg.Points(1.5), plotutil.Shape(i)
		if c.rival {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		drawn.Add(line, points)
		names = append(names, endLabel{c.name, c.color, line.XYs[len(line.XYs)-1]})
	}
	drawn.Add(names)
	wholeDecades(drawn)
	return drawn, nil
}

// newPlot returns a plot with logarithmic axes. The x axis is the number of callers.
func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "callers"
	p.Title.TextStyle.Font = fontOf(16)
	p.Title.Padding = vg.Points(6)
	p.X.Label.TextStyle.Font = fontOf(14)
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = fontOf(14), fontOf(14)
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = callerTicks()
	p.Y.Tick.Marker = plot.TickerFunc(decadeTicks)
	p.Add(plotter.NewGrid())
	return p
}

// wholeDecades widens the y axis to powers of ten, so that both its ends have a label.
func wholeDecades(p *plot.Plot) {
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
}

// decadeTicks labels the powers of ten.
func decadeTicks(low, high float64) (ticks []plot.Tick) {
	for exponent := math.Round(math.Log10(low)); exponent <= math.Log10(high)+0.5; exponent++ {
		decade := math.Pow(10, exponent)
		ticks = append(ticks, plot.Tick{Value: decade, Label: shortened(decade)})
		for minor := 2.0; minor < 10; minor++ {
			ticks = append(ticks, plot.Tick{Value: minor * decade})
		}
	}
	return ticks
}

// shortened returns a power of ten as a label, with k for thousands or M for millions.
func shortened(n float64) string {
	unit := ""
	switch {
	case n >= 1e6:
		n, unit = n/1e6, "M"
	case n >= 1e3:
		n, unit = n/1e3, "k"
	}
	return strconv.FormatFloat(n, 'f', -1, 64) + unit
}

func callerTicks() plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, n := range plottedCallers() {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return ticks
}

// The size of a panel. A phone's page is about as wide, so letters keep their size on it.
const (
	panelWidth  = 5 * vg.Inch
	panelHeight = 4.2 * vg.Inch
)

// save draws the plots one below the other.
func save(file string, plots ...*plot.Plot) error {
	canvas := vgsvg.New(panelWidth, vg.Length(len(plots))*panelHeight)
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadY: vg.Points(16), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(4), PadRight: vg.Points(4)}
	var column [][]*plot.Plot
	for _, p := range plots {
		column = append(column, []*plot.Plot{p})
	}
	for i, cells := range plot.Align(column, tiles, draw.New(canvas)) {
		plots[i].Draw(cells[0])
	}
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return err
	}
	return os.WriteFile(file, withFallbacks(text.Bytes()), 0o644)
}
