package http

import (
	"fmt"
	"time"

	"github.com/forgeauth/forgeauth/history"
)

// picture is a timeline laid out on a canvas, in units of its own.
type picture struct {
	Width, Height int
	Axis          int // where the lanes end and the labels of the time begin
	Lanes         []lane
	Ticks         []tick
	Summary       string // for those who cannot see it
}

// lane is the row of one connection, or of the refusals.
type lane struct {
	Name  string
	Y     int // of its middle
	Bars  []bar
	Marks []mark
}

// bar is a time during which a connection was active.
type bar struct {
	X, Width float64
	Title    string
}

// mark is a moment.
type mark struct {
	X     float64
	Kind  string // issued, refreshed, ended or denied
	Title string
}

// tick is a time on the axis.
type tick struct {
	X     float64
	Label string
}

const (
	pictureWidth = 960
	laneLeft     = 150 // where names end and time begins
	laneRight    = 16
	laneHeight   = 44
	axisHeight   = 36
	leastBar     = 2.0
)

// draw lays out a timeline.
func draw(t history.Timeline) picture {
	scale := newScale(t.Start, t.End)
	lanes := map[string]*lane{}
	p := picture{Width: pictureWidth}
	p.Lanes = make([]lane, 0, len(t.Forges)+1)
	add := func(name string) *lane {
		p.Lanes = append(p.Lanes, lane{Name: name, Y: len(p.Lanes)*laneHeight + laneHeight/2})
		return &p.Lanes[len(p.Lanes)-1] // there is room for all of them
	}
	for _, name := range t.Forges {
		lanes[name] = add(name)
	}
	refusals := add("refused")
	p.Axis = len(p.Lanes) * laneHeight
	p.Height = p.Axis + axisHeight
	for _, s := range t.Switches {
		if s.To == "" {
			continue
		}
		until := t.End
		if s.Until != nil && s.Until.Before(until) {
			until = *s.Until
		}
		x := scale.at(s.At)
		lanes[s.To].Bars = append(lanes[s.To].Bars, bar{
			X: x, Width: max(leastBar, scale.at(until)-x),
			Title: fmt.Sprintf("#%d: %s active from %s, %s, by %s", s.Position, s.To, isoSecond(s.At), held(s), brief(s.Actor)),
		})
	}
	for _, g := range t.Grants {
		title := fmt.Sprintf("#%d: token of %s %s %s", g.Position, g.ForgeType, g.What, isoSecond(g.At))
		if g.Generation > 0 {
			title += fmt.Sprintf(", generation %d", g.Generation)
		}
		lanes[g.ForgeType].Marks = append(lanes[g.ForgeType].Marks, mark{scale.at(g.At), g.What, title})
	}
	for _, d := range t.Denials {
		title := fmt.Sprintf("#%d: %d refused by %s", d.Position, d.Count, isoSecond(d.At))
		if d.Account != nil {
			title = fmt.Sprintf("#%d: %s refused %s, %s", d.Position, d.Account.AccountLogin, isoSecond(d.At), d.Reason)
		}
		refusals.Marks = append(refusals.Marks, mark{scale.at(d.At), "denied", title})
	}
	p.Ticks = scale.ticks()
	p.Summary = fmt.Sprintf("%d switches of the active forge, %d changes of tokens and %d refusals between %s and %s. The table below has the switches.",
		len(t.Switches), len(t.Grants), len(t.Denials), isoSecond(t.Start), isoSecond(t.End))
	return p
}

func isoSecond(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// scale maps time to the width.
type scale struct {
	start time.Time
	span  time.Duration
}

func newScale(start, end time.Time) scale { return scale{start, max(end.Sub(start), time.Second)} }

func (s scale) at(t time.Time) float64 {
	part := float64(t.Sub(s.start)) / float64(s.span)
	return laneLeft + min(1, max(0, part))*(pictureWidth-laneLeft-laneRight)
}

// ticks divides the time by the least round step that leaves no more than seven.
func (s scale) ticks() []tick {
	const day = 24 * time.Hour
	step, layout := 365*day, "2006-01-02"
	for _, round := range []time.Duration{
		time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 12 * time.Hour,
		day, 7 * day, 30 * day, 90 * day,
	} {
		if s.span/round <= 7 {
			step = round
			break
		}
	}
	switch {
	case step < time.Minute:
		layout = "15:04:05"
	case step < day:
		layout = "Jan 2 15:04"
	}
	var ticks []tick
	for t := s.start.UTC().Truncate(step).Add(step); !t.After(s.start.Add(s.span)); t = t.Add(step) {
		ticks = append(ticks, tick{s.at(t), t.Format(layout)})
	}
	return ticks
}
