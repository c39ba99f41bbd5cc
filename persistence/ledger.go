package persistence

// tail is the end of the log.
type tail struct {
	position uint64 // last one given
	checksum uint32 // of the last block
	// offset is what the blocks and index entries of each class ever written take.
	offset [classCount]uint64
}

// maxLedgerStreams bounds the versions kept in memory; beyond it they are
// forgotten and found again in the store.
const maxLedgerStreams = 16384

// ledger gives positions and versions. Numbers given since the last commit
// are provisional: rollback takes them back, so that a failed write leaves no
// gap. It belongs to the one writer and is not safe for concurrent use.
type ledger struct {
	committed, pending        tail
	versions, pendingVersions map[string]uint64
	// lookup finds the last version of a stream in the store, 0 if none.
	lookup func(stream string) (uint64, error)
}

func newLedger(t tail, lookup func(string) (uint64, error)) *ledger {
	return &ledger{
		committed: t, pending: t, lookup: lookup,
		versions: make(map[string]uint64), pendingVersions: make(map[string]uint64),
	}
}

func (l *ledger) tail() tail     { return l.pending }
func (l *ledger) advance(t tail) { l.pending = t }

// version is the last one given to a stream.
func (l *ledger) version(stream string) (uint64, error) {
	if v, ok := l.pendingVersions[stream]; ok {
		return v, nil
	}
	if v, ok := l.versions[stream]; ok {
		return v, nil
	}
	v, err := l.lookup(stream)
	if err == nil {
		l.remember(stream, v)
	}
	return v, err
}

func (l *ledger) setVersion(stream string, v uint64) { l.pendingVersions[stream] = v }

func (l *ledger) remember(stream string, v uint64) {
	if len(l.versions) >= maxLedgerStreams {
		clear(l.versions)
	}
	l.versions[stream] = v
}

func (l *ledger) commit() {
	l.committed = l.pending
	for stream, v := range l.pendingVersions {
		l.remember(stream, v)
	}
	clear(l.pendingVersions)
}

func (l *ledger) rollback() {
	l.pending = l.committed
	clear(l.pendingVersions)
}
