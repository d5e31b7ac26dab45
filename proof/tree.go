package proof

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// tileHeight is that of tlog-tiles: a tile is a tree of 8 levels and holds the 256 hashes of its lowest.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// maxLevels are more than the leaves of any log need.
	maxLevels = 8
)

// frontier is the right edge of a tree of tiles: for each level, the hashes of its last tile, which is not full. It is all that
// is needed to add leaves and to tell the root, whatever the size. Not safe for concurrent use.
type frontier struct {
	size  int64
	edges [maxLevels][]tlog.Hash
	// full, if not nil, is called with each tile that has become full.
	full func(level int, n int64, hashes []tlog.Hash) error
}

// width is how many hashes of a level's last tile a tree of that size has, and n which tile that is.
func (f *frontier) edge(level int) (n int64, width int) {
	count := f.size >> (tileHeight * level)
	return count >> tileHeight, int(count % tileWidth)
}

// push adds a leaf.
func (f *frontier) push(hash tlog.Hash) error {
	f.size++
	for level := range f.edges {
		f.edges[level] = append(f.edges[level], hash)
		if len(f.edges[level]) < tileWidth {
			return nil
		}
		if f.full != nil {
			n := f.size>>(tileHeight*(level+1)) - 1
			if err := f.full(level, n, f.edges[level]); err != nil {
				return err
			}
		}
		hash = subtree(f.edges[level])
		f.edges[level] = f.edges[level][:0]
	}
	return fmt.Errorf("a tree of %d leaves is too large", f.size)
}

// root returns the tree's root: that of RFC 6962, section 2.1.
func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		root, err := tlog.TreeHash(0, nil)
		if err != nil {
			panic(err) // no hash was asked for
		}
		return root
	}
	var root tlog.Hash
	empty := true
	for _, edge := range f.edges {
		// The complete subtrees of the edge, the smallest of which is rightmost.
		for rest := edge; len(rest) > 0; {
			width := len(rest) & -len(rest)
			left := subtree(rest[len(rest)-width:])
			rest = rest[:len(rest)-width]
			if empty {
				root, empty = left, false
			} else {
				root = tlog.NodeHash(left, root)
			}
		}
	}
	return root
}

// subtree returns the hash over a power of two of hashes.
func subtree(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	middle := len(hashes) / 2
	return tlog.NodeHash(subtree(hashes[:middle]), subtree(hashes[middle:]))
}

// pack and unpack convert between hashes and the bytes of a tile.
func pack(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, hash := range hashes {
		b = append(b, hash[:]...)
	}
	return b
}

func unpack(b []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize, tileWidth)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes
}
