package proof

import "golang.org/x/mod/sumdb/tlog"

// Roots returns the root of the tree after each of the hashes, and how many tiles became full.
func Roots(hashes []tlog.Hash) (roots []tlog.Hash, full int, err error) {
	edge := &frontier{full: func(int, int64, []tlog.Hash) error { full++; return nil }}
	roots = append(roots, edge.root())
	for _, hash := range hashes {
		if err := edge.push(hash); err != nil {
			return nil, 0, err
		}
		roots = append(roots, edge.root())
	}
	return roots, full, nil
}
