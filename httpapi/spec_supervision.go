package httpapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// supervision reads the fields of a create that say how the server is
// supervised; what they may be to each other is Validate's business.
func (f *fields) supervision(spec *supervisor.ServerSpec) {
	spec.Restart = supervisor.Restart(f.word("restart",
		string(supervisor.Permanent), string(supervisor.Transient), string(supervisor.Temporary)))
	spec.Strategy = supervisor.RestartStrategy(f.word("strategy",
		string(supervisor.OneForOne), string(supervisor.RestForOne), string(supervisor.AllForOne)))
	setIf(&spec.MaxRestarts, f.integer("max_restarts", 1, supervisor.MaxMaxRestarts))
	setIf(&spec.RestartPeriod, f.seconds("period_s", time.Second, supervisor.MaxRestartPeriod))
	spec.DependsOn = f.texts("depends_on")
	spec.Backoff = f.backoff()
}

// word reads one of a few words; empty if absent.
func (f *fields) word(name string, words ...string) string {
	text := f.text(name)
	switch {
	case text == nil:
		return ""
	case slices.Contains(words, *text):
		return *text
	}
	f.fault(name, "must be one of %s, not %s", strings.Join(words, ", "), quoteClient(*text))
	return ""
}

func (f *fields) backoff() supervisor.Backoff {
	o, ok := f.inner("backoff", "")
	if !ok {
		return supervisor.Backoff{}
	}
	inner := &fields{object: o}
	inner.onlyKnown("initial_s", "max_s", "jitter", "reset_after_s")
	// Jitter 0 is a wish, so the default must be set before.
	b := supervisor.Backoff{Jitter: supervisor.DefaultJitter}
	setIf(&b.Initial, inner.duration("initial_s", supervisor.MinBackoff, supervisor.MaxBackoff))
	setIf(&b.Max, inner.duration("max_s", supervisor.MinBackoff, supervisor.MaxBackoff))
	setIf(&b.Jitter, inner.share("jitter"))
	setIf(&b.ResetAfter, inner.duration("reset_after_s", time.Second, supervisor.MaxResetAfter))
	f.faultsOf("backoff", inner)
	return b
}

// share reads a number from 0 to 1.
func (f *fields) share(name string) *float64 {
	raw, ok := f.raw(name)
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(v >= 0 && v <= 1) {
		f.fault(name, "must be a number between 0 and 1")
		return nil
	}
	return &v
}

// backoffShape is the curve as the API spells it.
type backoffShape struct {
	Initial    float64 `json:"initial_s"`
	Max        float64 `json:"max_s"`
	Jitter     float64 `json:"jitter"`
	ResetAfter float64 `json:"reset_after_s"`
}

func backoffOf(b supervisor.Backoff) backoffShape {
	return backoffShape{Initial: b.Initial.Seconds(), Max: b.Max.Seconds(), Jitter: b.Jitter, ResetAfter: b.ResetAfter.Seconds()}
}
