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
	bar := p.bar(doing, progressbar.OptionShowCount())
	report = func(done, total int64) {
		if bar.GetMax64() != total {
			bar.ChangeMax64(total)
		}
		_ = bar.Set64(done) // what a bar cannot draw is nobody's failure
	}
	return report, func() { _ = bar.Finish() }
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
