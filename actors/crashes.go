package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Dossiers are documents of their own, in a ring: the n-th of a server has the
// place n modulo MaxDossiers, and one small document says how many there were.
const (
	docCrash   = "crash"   // one dossier, by server and place
	docCrashes = "crashes" // the number of dossiers that a server ever had
)

func dossierPlace(server string, n uint64) string {
	return fmt.Sprintf("%s/%02d", server, n%supervisor.MaxDossiers) // no server's id has a slash
}

// dossierDocs are the documents of a server's n-th dossier, from 1.
func dossierDocs(server string, n uint64, body []byte) []persistence.Doc {
	return []persistence.Doc{
		{Kind: docCrash, ID: dossierPlace(server, n), Body: body},
		{Kind: docCrashes, ID: server, Body: strconv.AppendUint(nil, n, 10)},
	}
}

// noDossiers deletes all of a server.
func noDossiers(server string) []persistence.Doc {
	docs := []persistence.Doc{{Kind: docCrashes, ID: server}}
	for n := range uint64(supervisor.MaxDossiers) {
		docs = append(docs, persistence.Doc{Kind: docCrash, ID: dossierPlace(server, n)})
	}
	return docs
}

// restoreCrashes reads how many dossiers each server had.
func (s *System) restoreCrashes(found orphans) (map[string]uint64, error) {
	docs, err := s.opts.Store.Docs(docCrashes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the crash dossiers from the store: %w", err)
	}
	counts := make(map[string]uint64, len(docs))
	for _, d := range docs {
		found.add(d.ID)
		if counts[d.ID], err = strconv.ParseUint(string(d.Body), 10, 64); err != nil {
			s.logger.Warn("the number of a server's crash dossiers is unreadable", "server", d.ID, "err", err)
		}
	}
	return counts, nil
}

// Crashes returns the last dossiers of a server, newest first, at most limit
// and supervisor.MaxDossiers; those of a moment ago and of earlier runs of the
// runtime included. It reads the store: not for actors.
func (s *System) Crashes(ctx context.Context, id string, limit int) ([]supervisor.Dossier, error) {
	if s.fleet.Load().byID[id] == nil {
		return nil, notFound(id)
	}
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	doc, ok, err := s.opts.Store.Doc(docCrashes, id)
	if err != nil || !ok {
		return nil, err
	}
	last, err := strconv.ParseUint(string(doc.Body), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("cannot read the crash dossiers of server %q: %w", id, err)
	}
	var all []supervisor.Dossier
	for n := last; n > 0 && last-n < supervisor.MaxDossiers && len(all) < limit; n-- {
		doc, ok, err := s.opts.Store.Doc(docCrash, dossierPlace(id, n))
		if err != nil {
			return nil, err
		}
		var d supervisor.Dossier
		if !ok || json.Unmarshal(doc.Body, &d) != nil {
			continue // a damaged one must not hide the others
		}
		all = append(all, d)
	}
	// One that was written meanwhile has taken the place of the oldest.
	slices.SortStableFunc(all, func(a, b supervisor.Dossier) int { return b.At.Compare(a.At) })
	return all, nil
}
