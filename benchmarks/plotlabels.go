package main

import (
	"bytes"
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func fontOf(points float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(points)}
}

// withFallbacks adds fonts to use in place of Liberation Sans, which few machines have.
func withFallbacks(svg []byte) []byte {
	return bytes.ReplaceAll(svg, []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
}

// endLabels are the names of curves. Each is at the right end of its curve.
type endLabels []endLabel

type endLabel struct {
	name  string
	color color.Color
	at    plotter.XY // the end of the curve
}

func (l endLabel) style() text.Style {
	return text.Style{Color: l.color, Font: fontOf(14), YAlign: draw.YCenter, Handler: plot.DefaultTextHandler}
}

// The lengths of the line that leads from a curve to its name.
const (
	leaderStart = vg.Length(5)
	leaderEnd   = vg.Length(14)
	leaderGap   = vg.Length(3)
)

// fallbackWidth is how much wider the letters of another font may be.
const fallbackWidth = 1.15

// Plot implements plot.Plotter.
func (labels endLabels) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	sorted := slices.SortedFunc(slices.Values(labels), func(a, b endLabel) int { return int(y(a.at.Y) - y(b.at.Y)) })
	var heights []vg.Length
	for _, l := range sorted {
		heights = append(heights, y(l.at.Y))
	}
	heights = spread(heights, vg.Points(16), c.Min.Y, c.Max.Y)
	for i, l := range sorted {
		end := x(l.at.X)
		leader := draw.LineStyle{Color: l.color, Width: vg.Points(0.75)}
		c.StrokeLine2(leader, end+leaderStart, y(l.at.Y), end+leaderEnd, heights[i])
		c.FillText(l.style(), vg.Point{X: end + leaderEnd + leaderGap, Y: heights[i]}, l.name)
	}
}

// GlyphBoxes implements plot.GlyphBoxer: it makes room for the names.
func (labels endLabels) GlyphBoxes(p *plot.Plot) (boxes []plot.GlyphBox) {
	for _, l := range labels {
		width := leaderEnd + leaderGap + fallbackWidth*l.style().Width(l.name)
		boxes = append(boxes, plot.GlyphBox{
			X:         p.X.Norm(l.at.X),
			Y:         p.Y.Norm(l.at.Y),
			Rectangle: vg.Rectangle{Max: vg.Point{X: width}},
		})
	}
	return boxes
}

// spread moves ascending heights so that neighbours are at least distance apart, and all are
// between low and high if there is room.
func spread(heights []vg.Length, distance, low, high vg.Length) []vg.Length {
	apart := slices.Clone(heights)
	floor := low
	for i := range apart {
		apart[i] = max(apart[i], floor)
		floor = apart[i] + distance
	}
	ceiling := high
	for i := len(apart) - 1; i >= 0; i-- {
		apart[i] = min(apart[i], ceiling)
		ceiling = apart[i] - distance
	}
	return apart
}
