package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	p := &program{
		environ: os.Environ(),
		in:      os.Stdin, out: os.Stdout, err: os.Stderr,
		canAsk:      isTerminal(os.Stdin) && isTerminal(os.Stderr),
		canAnimate:  isTerminal(os.Stderr),
		interactive: isTerminal(os.Stdout),
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		p.note("shutting down; once more ends it at once")
		<-signals
		os.Exit(int(exitInterrupted))
	}()
	os.Exit(int(p.run(ctx, os.Args[1:])))
}
