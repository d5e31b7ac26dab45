package vault_test

import (
	"crypto/rand"
	"io"
	"testing"
	"time"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// BenchmarkSeal and BenchmarkOpen put the vault beside a bare secretbox over the same token in the same run; ratio is the
// bare time over the vault's.
func BenchmarkSeal(b *testing.B) {
	key, _ := newDataKey(b, vault.New(parse(b, goodKey), nil))
	var bareKey [32]byte
	bare := func() {
		var nonce [24]byte
		_, _ = io.ReadFull(rand.Reader, nonce[:])
		secretbox.Seal(nonce[:], []byte(token), &nonce, &bareKey)
	}
	value, c := secret.New(token), goodContext(key)
	ratio(b, bare, func() { _, _ = key.Seal(c, value) })
}

func BenchmarkOpen(b *testing.B) {
	v := vault.New(parse(b, goodKey), nil)
	key, wrapped := newDataKey(b, v)
	c := goodContext(key)
	box := seal(b, key, c, token)
	var bareKey [32]byte
	var nonce [24]byte
	bareBox := secretbox.Seal(nil, []byte(token), &nonce, &bareKey)
	bare := func() { secretbox.Open(nil, bareBox, &nonce, &bareKey) }
	b.Run("under a key at hand", func(b *testing.B) {
		ratio(b, bare, func() { _, _ = key.Open(c, box) })
	})
	b.Run("with its key unwrapped", func(b *testing.B) {
		ratio(b, bare, func() {
			key, _ := v.Unwrap(wrapped)
			_, _ = key.Open(c, box)
		})
	})
}

func BenchmarkSessionHash(b *testing.B) {
	v := vault.New(parse(b, goodKey), nil)
	cookie := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		v.SessionHash(cookie)
	}
}

// ratio times both in alternating rounds, so that what else the machine does meets both, and counts the allocations of
// ours.
func ratio(b *testing.B, bare, ours func()) {
	b.Helper()
	bareAllocs, oursAllocs := testing.AllocsPerRun(100, bare), testing.AllocsPerRun(100, ours)
	var bareTime, oursTime time.Duration
	const round = 256
	rounds := 0
	for b.Loop() {
		rounds++
		start := time.Now()
		for range round {
			bare()
		}
		middle := time.Now()
		for range round {
			ours()
		}
		bareTime, oursTime = bareTime+middle.Sub(start), oursTime+time.Since(middle)
	}
	b.ReportMetric(float64(bareTime.Nanoseconds())/float64(rounds*round), "bare-ns/op")
	b.ReportMetric(float64(oursTime.Nanoseconds())/float64(rounds*round), "vault-ns/op")
	b.ReportMetric(bareAllocs, "bare-allocs/op")
	b.ReportMetric(oursAllocs, "vault-allocs/op")
	b.ReportMetric(float64(bareTime)/float64(oursTime), "ratio")
}
