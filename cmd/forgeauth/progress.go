package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress returns a function that draws a bar on standard error, and one that removes it. Where no terminal sees it, both
// do nothing.
func (p *program) progress(doing string) (report func(done, total int64), finish func()) {
	if !p.canAnimate {
		return nil, func() {}
	}
	bar := p.bar(doing, progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("events"))
	report = func(done, total int64) {
		if bar.GetMax64() != total {
			bar.ChangeMax64(total)
		}
		_ = bar.Set64(done) // what a bar cannot draw is nobody's failure
	}
	return report, func() { _ = bar.Finish() }
}

// stages is progress for work in several parts: the bar of each takes the place of the one before as soon as it has something to show.
func (p *program) stages(doing ...string) (reports []func(done, total int64), finish func()) {
	reports = make([]func(int64, int64), len(doing))
	if !p.canAnimate {
		return reports, func() {}
	}
	end := func() {}
	var at string
	var report func(done, total int64)
	for i, name := range doing {
		reports[i] = func(done, total int64) {
			if at != name {
				end()
				at = name
				report, end = p.progress(name)
			}
			report(done, total)
		}
	}
	return reports, func() { end() }
}

// waiting draws that something is being done of which nobody knows how far it is, until the returned function is called. Where no
// terminal sees it, it does nothing.
func (p *program) waiting(doing string) (finish func()) {
	if !p.canAnimate {
		return func() {}
	}
	bar := p.bar(doing, progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionSetElapsedTime(true))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			_ = bar.RenderBlank()
			select {
			case <-ticker.C:
			case <-stop:
				_ = bar.Finish()
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func (p *program) bar(doing string, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(-1, append(more,
		progressbar.OptionSetWriter(p.err), progressbar.OptionSetDescription(doing),
		progressbar.OptionClearOnFinish(), progressbar.OptionEnableColorCodes(false), progressbar.OptionSetWidth(30))...)
}
