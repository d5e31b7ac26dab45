package main

import (
	"bufio"
	"io"
	"sync"
)

// mostTyped bounds what one run reads of standard input.
const mostTyped = 1 << 20

// typed is what arrives on standard input, read once for whoever asks.
type typed struct {
	once sync.Once
	rows chan string
}

// lines returns the lines of standard input, each with its line break, and ends with them; the last may have none. Reading goes on
// in the background until somebody takes the line, also when whoever asked has left.
func (p *program) lines() <-chan string {
	p.typed.once.Do(func() {
		p.typed.rows = make(chan string)
		go func() {
			defer close(p.typed.rows)
			reader := bufio.NewReader(io.LimitReader(p.in, mostTyped))
			for {
				line, err := reader.ReadString('\n')
				if line != "" {
					p.typed.rows <- line
				}
				if err != nil {
					return
				}
			}
		}()
	})
	return p.typed.rows
}
