package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A transport is a curve of the plot.
type transport struct {
	name string
	open opener
}

func transports() []transport {
	return []transport{
		{"stream over TCP", streamOurs},
		{"Redis", redisOurs},
		{"RabbitMQ", rabbitOurs},
		{"RabbitMQ, Batch", rabbitBatch},
		{"HTTP", httpOurs},
		{"HTTP, Batch", httpBatch},
	}
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
	for _, t := range transports() {
		c, err := measureCurve(env, t)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		curves = append(curves, c)
	}
	speed, err := speedPlot(curves)
	if err != nil {
		return err
	}
	latency, err := latencyPlot(curves)
	if err != nil {
		return err
	}
	return save(file, speed, latency)
}

func measureCurve(env *environment, t transport) (curve, error) {
	c := curve{name: t.name}
	for _, callers := range plottedCallers() {
		l, err := measureLatency(env, side{t.open, callers})
		if err != nil {
			return c, err
		}
		x := float64(callers)
		c.rate = append(c.rate, plotter.XY{X: x, Y: l.rate})
		c.p50 = append(c.p50, plotter.XY{X: x, Y: milliseconds(l.p50)})
		c.p99 = append(c.p99, plotter.XY{X: x, Y: milliseconds(l.p99)})
		fmt.Printf("%-16s %5d callers %8.0f calls/s  p50 %8v  p99 %8v\n",
			t.name, callers, l.rate, l.p50.Round(time.Microsecond), l.p99.Round(time.Microsecond))
	}
	return c, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A latency is what one caller among many sees.
type latency struct {
	rate     float64 // of all callers, per second
	p50, p99 time.Duration
}

// measureLatency times each call of a side.
func measureLatency(env *environment, s side) (latency, error) {
	t, err := warm(env, s)
	if err != nil {
		return latency{}, err
	}
	defer t.close()
	times := make([][]time.Duration, s.callers)
	call := t.call
	t.call = func(caller int) error {
		start := time.Now()
		err := call(caller)
		times[caller] = append(times[caller], time.Since(start))
		return err
	}
	turn, err := t.during(env.ctx, time.Duration(2*env.effort.slices)*sliceOf(s.callers))
	all := slices.Concat(times...)
	return latency{turn.rate(), quantile(all, 0.5), quantile(all, 0.99)}, err
}

func speedPlot(curves []curve) (*plot.Plot, error) {
	p := newPlot("Throughput", "calls per second")
	for i, c := range curves {
		if err := addLine(p, c.name, c.rate, i, false); err != nil {
			return nil, err
		}
	}
	wholeDecades(p)
	return p, nil
}

func latencyPlot(curves []curve) (*plot.Plot, error) {
	p := newPlot("Latency", "milliseconds")
	for i, c := range curves {
		if err := addLine(p, c.name+", p50", c.p50, i, false); err != nil {
			return nil, err
		}
		if err := addLine(p, c.name+", p99", c.p99, i, true); err != nil {
			return nil, err
		}
	}
	wholeDecades(p)
	return p, nil
}

// newPlot returns a plot with logarithmic axes, over the number of callers.
func newPlot(title, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "callers"
	p.Y.Label.Text = y
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker = callerTicks()
	p.Y.Tick.Marker = plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	return p
}

// wholeDecades widens the y axis so that both its ends have a label, and room
// for the legend.
func wholeDecades(p *plot.Plot) {
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max))+1)
}

func callerTicks() plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, n := range plottedCallers() {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return ticks
}

func addLine(p *plot.Plot, name string, points plotter.XYs, color int, dashed bool) error {
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, dots.Color = plotutil.Color(color), plotutil.Color(color)
	dots.Shape = draw.CircleGlyph{}
	line.Width = vg.Points(1.5)
	if dashed {
		line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Add(line, dots)
	p.Legend.Add(name, line)
	return nil
}

// save draws the plots side by side.
func save(file string, plots ...*plot.Plot) error {
	canvas := vgsvg.New(vg.Length(len(plots))*5*vg.Inch, 4*vg.Inch)
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
