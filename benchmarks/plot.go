package main

import (
	"fmt"
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

// plottedTransports are those with a curve in the plot.
func plottedTransports() []transport {
	return []transport{streamOurs, redisOurs, rabbitOurs, rabbitBatch, httpOurs, httpBatch}
}

// plottedCallers are the numbers of callers that the plot is over.
func plottedCallers() []int { return []int{1, 8, 64, 512, 4096} }

// A curve is what one transport does, over the number of callers.
type curve struct {
	name           string
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
	var plots []*plot.Plot
	for i, p := range panels() {
		drawn, err := p.draw(curves, i == 0)
		if err != nil {
			return err
		}
		plots = append(plots, drawn)
	}
	return save(file, plots...)
}

func measureCurve(env *environment, t transport) (curve, error) {
	c := curve{name: t.name}
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

// A panel is one of the plots that stand side by side.
type panel struct {
	title, y string
	of       func(curve) plotter.XYs
}

func panels() []panel {
	return []panel{
		{"Throughput", "calls per second", func(c curve) plotter.XYs { return c.rate }},
		{"Latency, median", "milliseconds", func(c curve) plotter.XYs { return c.p50 }},
		{"Latency, 99th percentile", "milliseconds", func(c curve) plotter.XYs { return c.p99 }},
	}
}

// draw draws the curves of a panel. The legend of the first is for all.
func (p panel) draw(curves []curve, legend bool) (*plot.Plot, error) {
	drawn := newPlot(p.title, p.y)
	for i, c := range curves {
		line, points, err := plotter.NewLinePoints(p.of(c))
		if err != nil {
			return nil, err
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		line.Width, points.Shape = vg.Points(1.5), plotutil.Shape(i)
		drawn.Add(line, points)
		if legend {
			drawn.Legend.Add(c.name, line, points)
		}
	}
	wholeDecades(drawn)
	return drawn, nil
}

// newPlot returns a plot with logarithmic axes, over the number of callers.
func newPlot(title, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "callers"
	p.Y.Label.Text = y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = callerTicks()
	p.Y.Tick.Marker = plot.TickerFunc(decadeTicks)
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.Padding = vg.Points(2)
	p.Legend.Left, p.Legend.XOffs = true, vg.Points(100) // below the curves
	p.Add(plotter.NewGrid())
	return p
}

// wholeDecades widens the y axis so that both its ends have a label.
func wholeDecades(p *plot.Plot) {
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
}

// decadeTicks labels the powers of ten in full.
func decadeTicks(low, high float64) (ticks []plot.Tick) {
	for exponent := math.Round(math.Log10(low)); exponent <= math.Log10(high)+0.5; exponent++ {
		decade := math.Pow(10, exponent)
		ticks = append(ticks, plot.Tick{Value: decade, Label: strconv.FormatFloat(decade, 'f', -1, 64)})
		for minor := 2.0; minor < 10; minor++ {
			ticks = append(ticks, plot.Tick{Value: minor * decade})
		}
	}
	return ticks
}

func callerTicks() plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, n := range plottedCallers() {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return ticks
}

// save draws the plots side by side.
func save(file string, plots ...*plot.Plot) error {
	canvas := vgsvg.New(vg.Length(len(plots))*4*vg.Inch, 4*vg.Inch)
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Points(20), PadTop: vg.Points(6), PadBottom: vg.Points(6), PadLeft: vg.Points(6), PadRight: vg.Points(12)}
	row := [][]*plot.Plot{plots}
	for i, cell := range plot.Align(row, tiles, draw.New(canvas))[0] {
		plots[i].Draw(cell)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
