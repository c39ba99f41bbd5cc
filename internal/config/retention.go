package config

// retention checks that the shares of the event log fit into the whole, if all of
// that is said.
func (d *decoder) retention(r *Retention) {
	calls, events := r.Calls.MaxBytes, r.Events.MaxBytes
	if r.MaxBytes == 0 || calls+events == 0 || max(calls, 1)+max(events, 1) <= r.MaxBytes {
		return
	}
	share, name := &r.Events, "events"
	if events == 0 {
		share, name = &r.Calls, "calls"
	}
	at := (*path)(nil).child("event_store").child("retention").child(name).child("max_bytes")
	d.fault(share.where("max_bytes"), at, "calls (%d) and events (%d) do not fit in the max_bytes (%d) of the whole log; "+
		"what is left out gets what the other leaves", calls, events, r.MaxBytes)
}
