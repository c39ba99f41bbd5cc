package actors

import (
	"maps"
	"slices"

	"github.com/aabb9013/hangar/persistence"
)

// maxOrphans bounds the servers that one start forgets; the next forgets more.
const maxOrphans = 100

// orphans are ids under which documents are stored and no server is known: the
// configuration file named them once.
type orphans map[string]struct{}

func (o orphans) add(id string) { o[id] = struct{}{} }

// leftovers are all documents that a server has beside its spec, as deletions.
func leftovers(id string) []persistence.Doc {
	return append(noDossiers(id), persistence.Doc{Kind: docTools, ID: id}, persistence.Doc{Kind: docState, ID: id})
}

// forget deletes what is stored of servers that are no more. Nobody waits for
// it: what is left of them harms nobody.
func (r *registry) forget(o orphans) {
	ids := slices.Sorted(maps.Keys(o))
	var batch persistence.Batch
	for _, id := range ids[:min(len(ids), maxOrphans)] {
		batch.Docs = append(batch.Docs, leftovers(id)...)
	}
	if len(batch.Docs) == 0 {
		return
	}
	r.commit(batch, func(err error) {
		if err != nil {
			r.sys.logger.Warn("servers that are no more are not forgotten yet", "servers", len(ids), "err", err)
		}
	})
}
