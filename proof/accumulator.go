package proof

import (
	"fmt"

	"github.com/forgeauth/forgeauth/events"
)

// Accumulator hashes a log from its beginning. The zero value is that of an empty one. Not safe for concurrent use.
type Accumulator struct {
	edge frontier
}

// Add adds the next event.
func (a *Accumulator) Add(r events.Record) error {
	if r.Position != a.edge.size+1 {
		return fmt.Errorf("position %d does not follow position %d", r.Position, a.edge.size)
	}
	hash, err := leafHash(r)
	if err != nil {
		return err
	}
	return a.edge.push(hash)
}

// Head returns the tree over what was added.
func (a *Accumulator) Head() TreeHead { return TreeHead{N: a.edge.size, Hash: a.edge.root()} }
