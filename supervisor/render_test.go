package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// render writes a machine's situation in one line, with only what is set.
func render(m Machine, now time.Time) string {
	out := m.State.String()
	if m.Phase != PhaseNone {
		out += "/" + m.Phase.String()
	}
	field := func(set bool, format string, args ...any) {
		if set {
			out += " " + fmt.Sprintf(format, args...)
		}
	}
	field(m.Live, "live")
	field(m.Recovering, "recovering")
	field(m.Lost, "lost")
	field(m.Failures > 0, "failures=%d", m.Failures)
	field(m.ProbeMisses > 0, "misses=%d", m.ProbeMisses)
	field(m.Streak > 0, "streak=%d", m.Streak)
	field(len(m.Restarts) > 0, "restarts=%d", len(m.Restarts))
	field(!m.NextRetryAt.IsZero(), "next=%v", m.NextRetryAt.Sub(now))
	field(m.StopReason != "", "reason=%s", m.StopReason)
	field(m.StartAfter == CauseCall, "after=call")
	field(m.StartAfter == CauseOperator, "after=operator")
	field(m.Candidate.Epoch != 0, "candidate=#%d", m.Candidate.Epoch)
	field(m.Leaver.Epoch != 0 && m.Leaver.Served, "draining=#%d", m.Leaver.Epoch)
	field(m.Leaver.Epoch != 0 && !m.Leaver.Served, "ending=#%d", m.Leaver.Epoch)
	return out
}

func renderEffects(effects []Effect) string {
	if len(effects) == 0 {
		return "-"
	}
	parts := make([]string, len(effects))
	for i, e := range effects {
		parts[i] = renderEffect(e)
	}
	return strings.Join(parts, "; ")
}

func renderEffect(e Effect) string {
	switch e := e.(type) {
	case StartInstance:
		out := fmt.Sprintf("start #%d", e.Epoch) + map[bool]string{true: " candidate"}[e.Candidate]
		if e.After != 0 {
			out += fmt.Sprintf(" after %v", e.After)
		}
		return out
	case SwitchInstance:
		return fmt.Sprintf("switch #%d -> #%d", e.Old, e.Epoch)
	case PromoteCandidate:
		return fmt.Sprintf("promote #%d", e.Epoch)
	case StopInstance:
		how := map[bool]string{true: " drain"}[e.Drain] + map[bool]string{true: " kill"}[e.Kill] + map[bool]string{true: " replaced"}[e.Replaced]
		return fmt.Sprintf("stop #%d%s %q", e.Epoch, how, e.Reason)
	case ProbeInstance:
		return fmt.Sprintf("probe #%d", e.Epoch)
	case ProbeSpared:
		return "probe spared"
	case ArmTimer:
		return fmt.Sprintf("arm %v %v", e.Kind, e.After)
	case CancelTimer:
		return fmt.Sprintf("cancel %v", e.Kind)
	case ReleaseWaiting:
		return "release"
	case FailWaiting:
		out := fmt.Sprintf("fail %q", e.Reason)
		if e.GaveUp {
			out += " gave-up"
		}
		if e.RetryAfter != 0 {
			out += fmt.Sprintf(" retry=%v", e.RetryAfter)
		}
		if e.Class != 0 {
			out += " " + e.Class.String()
		}
		return out
	case Emit:
		return renderEvent(e.Event)
	}
	return fmt.Sprintf("unknown effect %T", e)
}

func renderEvent(e Event) string {
	name := strings.TrimPrefix(string(e.Kind), "McpServer")
	if e.Kind == ServerStateChanged {
		return fmt.Sprintf("%v->%v", e.Data["old_state"], e.Data["new_state"])
	}
	var data []string
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		data = append(data, fmt.Sprintf("%s=%v", key, e.Data[key]))
	}
	return fmt.Sprintf("%s#%d{%s}", name, e.Epoch, strings.Join(data, " "))
}
