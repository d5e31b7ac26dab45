package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

func main() {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	p := &program{
		environ: os.Environ(),
		in:      os.Stdin, out: os.Stdout, err: os.Stderr,
		canAsk:      isTerminal(os.Stdin) && isTerminal(os.Stderr),
		canAnimate:  isTerminal(os.Stderr) && os.Getenv("TERM") != "dumb",
		interactive: isTerminal(os.Stdout),
		now:         time.Now,
	}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		p.columns = width
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		if isTerminal(os.Stderr) {
			_, _ = fmt.Fprintln(os.Stderr) // below the ^C, and what else stands in that line
		}
		p.note("shutting down; once more ends it at once")
		<-signals
		os.Exit(int(exitInterrupted))
	}()
	os.Exit(int(p.run(ctx, os.Args[1:])))
}
