//go:build race

package main

// raceEnabled says that the binary under test is built with the race detector, as the tests are.
const raceEnabled = true
