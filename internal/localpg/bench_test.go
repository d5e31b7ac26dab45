package localpg

import (
	"path/filepath"
	"testing"
)

// BenchmarkStart times a fresh cluster, and the start of one that is there.
func BenchmarkStart(b *testing.B) {
	b.Run("fresh and ephemeral", func(b *testing.B) {
		for b.Loop() {
			s, err := Start(b.Context(), Config{Ephemeral: true})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := s.Stop(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	b.Run("again", func(b *testing.B) {
		c := Config{Dir: filepath.Join(reachable(b), "postgres")}
		s, err := Start(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			s, err := Start(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := s.Stop(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
