package httpapi

import (
	"encoding/json"
	"math"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// The shapes of the contract (reference sections 1.1.2 to 1.1.4). Where the
// contract and the reference program name one thing differently, both names
// are there, so that clients of either find theirs.

type summaryShape struct {
	MCPServer       string           `json:"mcp_server"`
	ID              string           `json:"mcp_server_id"`
	State           supervisor.State `json:"state"`
	Mode            supervisor.Mode  `json:"mode"`
	Alive           bool             `json:"alive"`
	ToolsCount      int              `json:"tools_count"`
	HealthStatus    string           `json:"health_status"`
	ToolsPredefined bool             `json:"tools_predefined"`
	Description     string           `json:"description,omitempty"`
	Phase           string           `json:"phase,omitempty"`
}

func summaryOf(v *supervisor.View) summaryShape {
	return summaryShape{
		MCPServer:       v.Spec.ID,
		ID:              v.Spec.ID,
		State:           v.State,
		Mode:            v.Spec.Mode,
		Alive:           v.Alive(),
		ToolsCount:      toolCount(v.Catalogue),
		HealthStatus:    v.Health(),
		ToolsPredefined: v.ToolsPredefined,
		Description:     v.Spec.Description,
		Phase:           v.Phase.String(),
	}
}

type detailShape struct {
	MCPServer       string            `json:"mcp_server"`
	ID              string            `json:"mcp_server_id"`
	State           supervisor.State  `json:"state"`
	Mode            supervisor.Mode   `json:"mode"`
	Alive           bool              `json:"alive"`
	Tools           []json.RawMessage `json:"tools"`
	Health          healthShape       `json:"health"`
	IdleTime        float64           `json:"idle_time"`
	Meta            metaShape         `json:"meta"`
	Config          configShape       `json:"config"`
	Description     string            `json:"description,omitempty"`
	HealthStatus    string            `json:"health_status"`
	ToolsCount      int               `json:"tools_count"`
	ToolsPredefined bool              `json:"tools_predefined"`
	ToolsStale      bool              `json:"tools_stale"`
	Phase           string            `json:"phase"`
	Epoch           uint64            `json:"epoch"`
	PID             *int              `json:"pid"`
	Restarts        int               `json:"restarts"`
	NextRetryAt     *string           `json:"next_retry_at"`
	LastError       *string           `json:"last_error"`
	MemoryBytes     int64             `json:"memory_bytes,omitempty"`
}

// metaShape is empty while the server does not run.
type metaShape struct {
	InitResult json.RawMessage `json:"init_result,omitempty"`
	ToolsCount *int            `json:"tools_count,omitempty"`
	StartedAt  float64         `json:"started_at,omitempty"`
}

func detailOf(v *supervisor.View, now time.Time) detailShape {
	d := detailShape{
		MCPServer:       v.Spec.ID,
		ID:              v.Spec.ID,
		State:           v.State,
		Mode:            v.Spec.Mode,
		Alive:           v.Alive(),
		Tools:           toolItems(v.Catalogue),
		Health:          healthOf(v, now),
		Config:          configOf(v.Spec),
		Description:     v.Spec.Description,
		HealthStatus:    v.Health(),
		ToolsCount:      toolCount(v.Catalogue),
		ToolsPredefined: v.ToolsPredefined,
		ToolsStale:      v.ToolsStale,
		Phase:           v.Phase.String(),
		Epoch:           v.Epoch,
		Restarts:        v.BudgetUsed(now),
		NextRetryAt:     isoOrNull(v.NextRetryAt),
		MemoryBytes:     v.MemoryBytes(),
	}
	if c := v.Counters; c != nil && c.LastUsed.Load() != 0 {
		d.IdleTime = secondsSince(time.Unix(0, c.LastUsed.Load()), now)
	}
	if !v.ReadySince.IsZero() {
		d.Meta = metaShape{InitResult: json.RawMessage("{}"), ToolsCount: &d.ToolsCount, StartedAt: unixFloat(v.ReadySince)}
		if v.Catalogue != nil && json.Valid(v.Catalogue.Initialize) {
			d.Meta.InitResult = v.Catalogue.Initialize
		}
	}
	if v.PID != 0 {
		d.PID = &v.PID
	}
	if v.LastError != "" {
		text := cleanText(v.LastError, 2000)
		d.LastError = &text
	}
	return d
}

type healthShape struct {
	ID                  string           `json:"mcp_server_id"`
	State               supervisor.State `json:"state"`
	Status              string           `json:"status"`
	ConsecutiveFailures int              `json:"consecutive_failures"`
	TotalInvocations    int64            `json:"total_invocations"`
	TotalFailures       int64            `json:"total_failures"`
	SuccessRate         float64          `json:"success_rate"`
	InstanceFailures    uint64           `json:"instance_failures"`
	CanRetry            bool             `json:"can_retry"`
	TimeUntilRetry      float64          `json:"time_until_retry"`
	LastSuccessAgo      *float64         `json:"last_success_ago"`
	LastFailureAgo      *float64         `json:"last_failure_ago"`
	LastSuccessAt       *string          `json:"last_success_at"`
	LastFailureAt       *string          `json:"last_failure_at"`
	StdoutNoise         uint64           `json:"stdout_noise"`
	DroppedAnswers      uint64           `json:"dropped_answers"`
	DroppedLines        uint64           `json:"dropped_lines"`
	Checks              []checkShape     `json:"checks"`
}

type checkShape struct {
	Timestamp  string  `json:"timestamp"`
	OK         bool    `json:"ok"`
	DurationMS float64 `json:"duration_ms"`
	Error      *string `json:"error"`
}

// healthOf counts tool calls only: the reference also counts starts and probes
// and counts each call twice, which makes its success rate mean nothing.
func healthOf(v *supervisor.View, now time.Time) healthShape {
	h := healthShape{
		ID:                  v.Spec.ID,
		State:               v.State,
		Status:              v.Health(),
		ConsecutiveFailures: v.Failures,
		SuccessRate:         1,
		InstanceFailures:    v.TotalFailures,
		CanRetry:            v.Phase != supervisor.PhaseGaveUp && !now.Before(v.NextRetryAt),
		LastSuccessAgo:      agoOrNull(v.LastSuccessAt, now),
		LastFailureAgo:      agoOrNull(v.LastFailureAt, now),
		LastSuccessAt:       isoOrNull(v.LastSuccessAt),
		LastFailureAt:       isoOrNull(v.LastFailureAt),
		Checks:              make([]checkShape, 0, len(v.Checks)),
	}
	if c := v.Counters; c != nil {
		h.TotalInvocations, h.TotalFailures = c.Calls.Load(), c.Failed.Load()
		h.SuccessRate = successRate(h.TotalInvocations, h.TotalFailures)
	}
	if s := v.Streams; s != nil {
		h.StdoutNoise, h.DroppedAnswers = s.Noise.Load(), s.DroppedAnswers.Load()
	}
	if v.Log != nil {
		h.DroppedLines = v.Log.Dropped()
	}
	if now.Before(v.NextRetryAt) {
		h.TimeUntilRetry = secondsSince(now, v.NextRetryAt)
	}
	for _, c := range v.Checks {
		item := checkShape{Timestamp: isoUTC(c.At), OK: c.OK, DurationMS: milliseconds(c.Duration)}
		if c.Error != "" {
			text := cleanText(c.Error, 500)
			item.Error = &text
		}
		h.Checks = append(h.Checks, item)
	}
	return h
}

// successRate is 1 while nothing ran. The counters are read one after the
// other while calls end, so failed may be a little ahead.
func successRate(calls, failed int64) float64 {
	if calls <= 0 {
		return 1
	}
	return min(1, max(0, float64(calls-failed)/float64(calls)))
}

type (
	createdShape struct {
		ID      string `json:"mcp_server_id"`
		Created bool   `json:"created"`
	}
	updatedShape struct {
		ID      string `json:"mcp_server_id"`
		Updated bool   `json:"updated"`
	}
	deletedShape struct {
		ID      string `json:"mcp_server_id"`
		Deleted bool   `json:"deleted"`
	}
	startedShape struct {
		MCPServer string           `json:"mcp_server"`
		ID        string           `json:"mcp_server_id"`
		State     supervisor.State `json:"state"`
		Tools     []string         `json:"tools"`
	}
	stoppedShape struct {
		Stopped string `json:"stopped"`
		ID      string `json:"mcp_server_id"`
		Reason  string `json:"reason"`
		// All is there when dependents were asked for: what was stopped, in order.
		All []string `json:"stopped_servers,omitempty"`
	}
)

func toolCount(c *backends.Catalogue) int {
	if c == nil {
		return 0
	}
	return len(c.Tools)
}

// secondsSince is never negative: clocks of views and requests may differ a
// little.
func secondsSince(t, now time.Time) float64 {
	return max(0, math.Round(now.Sub(t).Seconds()*1e6)/1e6)
}

func agoOrNull(t, now time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	s := secondsSince(t, now)
	return &s
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
