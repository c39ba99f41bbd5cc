package persistence

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"
)

func benchOpen(b *testing.B, d Durability) *Badger {
	b.Helper()
	s, err := Open(Options{Dir: b.TempDir(), Durability: d, MinFreeBytes: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func BenchmarkRecord(b *testing.B) {
	for _, servers := range []int{1, 100} {
		b.Run(fmt.Sprintf("servers=%d", servers), func(b *testing.B) {
			buf := NewCallBuffer(64 << 20)
			records := benchRecords(servers)
			var dst []byte
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				buf.Record(&records[i%servers])
				if i++; i%20000 == 0 {
					dst, _ = buf.Drain(dst[:0])
				}
			}
		})
	}
	b.Run("journal", func(b *testing.B) {
		s := benchOpen(b, Process)
		records := benchRecords(100)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			s.calls.Record(&records[i%100])
			if i++; i%20000 == 0 {
				b.StopTimer()
				if err := s.FlushCalls(0); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		buf := NewCallBuffer(64 << 20)
		records := benchRecords(100)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var dst []byte
			for i := 0; pb.Next(); i++ {
				buf.Record(&records[i%100])
				if i%20000 == 19999 {
					dst, _ = buf.Drain(dst[:0])
				}
			}
		})
	})
}

func benchRecords(servers int) []CallRecord {
	records := make([]CallRecord, servers)
	for i := range records {
		records[i] = CallRecord{
			Server: fmt.Sprintf("mcp-server-%03d", i), Tool: "search_documents", CallID: 123456, Start: time.Now().UnixNano(),
			Duration: 3 * time.Millisecond, RequestBytes: 200, ResultBytes: 5000, Outcome: Completed,
		}
	}
	return records
}

// BenchmarkAppendCalls reports the time and, as cpu-ns/record, all the process
// spends on one record, badger's flushes and compactions included.
func BenchmarkAppendCalls(b *testing.B) {
	for _, c := range []struct{ records, servers int }{{100, 100}, {1000, 100}, {3000, 1}, {3000, 300}, {50000, 300}} {
		b.Run(fmt.Sprintf("records=%d/servers=%d", c.records, c.servers), func(b *testing.B) {
			s := benchOpen(b, Process)
			buf := NewCallBuffer(64 << 20)
			kinds := benchRecords(c.servers)
			for i := range c.records {
				buf.Record(&kinds[i%c.servers])
			}
			packed, _ := buf.Drain(nil)
			cpu := cpuTime()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if err := s.AppendCalls(packed, 0); err != nil {
					b.Fatal(err)
				}
				n += c.records
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
			b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/record")
			b.ReportMetric(float64(s.Stats().LogBytes)/float64(s.LastPosition()-s.Stats().FirstPosition+1), "B/record")
		})
	}
}

// BenchmarkAppendAtTheBound is an append that retention follows; every tenth is of
// another event.
func BenchmarkAppendAtTheBound(b *testing.B) {
	for _, c := range []struct{ records, servers int }{{1, 1}, {100, 100}, {3000, 1}, {3000, 300}} {
		b.Run(fmt.Sprintf("records=%d/servers=%d", c.records, c.servers), func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), MinFreeBytes: 1, MaxLogBytes: 8 << 20})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			buf := NewCallBuffer(64 << 20)
			kinds := benchRecords(c.servers)
			for i := range c.records {
				buf.Record(&kinds[i%c.servers])
			}
			packed, _ := buf.Drain(nil)
			for s.Stats().DroppedBlocks == 0 {
				if err := s.AppendCalls(packed, 0); err != nil {
					b.Fatal(err)
				}
			}
			cpu, n := cpuTime(), 0
			b.ReportAllocs()
			for b.Loop() {
				if err := s.AppendCalls(packed, 0); err != nil {
					b.Fatal(err)
				}
				if n++; n%10 == 0 {
					if err := s.Commit(Batch{Events: []Event{{Stream: "s", Kind: "K"}}}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(n), "cpu-ns/append")
		})
	}
}

func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkCommit(b *testing.B) {
	for _, d := range []Durability{Process, Power} {
		for _, group := range []int{1, 100} {
			b.Run(fmt.Sprintf("%v/group=%d", d, group), func(b *testing.B) {
				s := benchOpen(b, d)
				batches := make([]Batch, group)
				for i := range batches {
					id := fmt.Sprintf("mcp-server-%03d", i)
					batches[i] = Batch{
						Docs:   []Doc{{Kind: "snapshot", ID: id, Body: make([]byte, 500)}},
						Events: []Event{{Stream: id, Kind: "McpServerStateChanged", Data: json.RawMessage(`{"old_state":"cold","new_state":"ready"}`)}},
					}
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					if err := s.Commit(batches...); err != nil {
						b.Fatal(err)
					}
					n += group
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/batch")
			})
		}
	}
}

func BenchmarkHistory(b *testing.B) {
	s := benchOpen(b, Process)
	buf := NewCallBuffer(64 << 20)
	kinds := benchRecords(100)
	for i := range 3000 {
		buf.Record(&kinds[i%100])
	}
	packed, _ := buf.Drain(nil)
	for range 100 {
		if err := s.AppendCalls(packed, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if ev, err := s.History("mcp-server-042", 1500, 100); err != nil || len(ev) != 100 {
			b.Fatal(len(ev), err)
		}
	}
}
