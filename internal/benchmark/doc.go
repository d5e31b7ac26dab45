// Package benchmark measures forgeauth against the least that could do the same work: a bare handler, one statement, one
// secretbox. Each benchmark runs both sides in turn, in one process on one server, and reports their ratio, so that a figure
// does not depend on the machine. Run it with `make bench`; docs/benchmarks.md says what is compared and holds the last
// table. Nothing here is imported by anything.
package benchmark
