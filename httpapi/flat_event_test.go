package httpapi

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzFlatEvent holds the frame of an event against a decoder: the common
// fields as they are, and every other field of the event's own.
func FuzzFlatEvent(f *testing.F) {
	for _, own := range []string{
		`{}`, ` { "a" : [1, {"b": "}"}] , "c":"\"," ,"d":null}`, `{"event_type":"mine","event_id":{},"x":1}`,
		`{"\u0065vent_id":1,"é\n":"\\"}`, `[]`, `{"a":`, ``, `{"":{"":[]}}`,
	} {
		f.Add(own)
	}
	f.Fuzz(func(t *testing.T, own string) {
		frame := eventFrame(record(3, "Kind", "math", own))
		var got, want map[string]any
		if err := json.Unmarshal(frame, &got); err != nil {
			t.Fatalf("%q makes the frame %q: %v", own, frame, err)
		}
		if json.Unmarshal([]byte(own), &want) != nil || want == nil {
			want = map[string]any{}
		}
		want["event_type"], want["event_id"], want["position"] = "Kind", eventID(3), 3.0
		want["occurred_at"], want["timestamp"] = unixFloat(testNow), isoUTC(testNow)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", own, diff)
		}
	})
}

func BenchmarkEventFrame(b *testing.B) {
	r := record(123456, "ToolInvocationCompleted", "a", `{"mcp_server_id":"a","tool_name":"echo","correlation_id":"af133774ab1d2e21-1","duration_ms":30.238143,"result_size_bytes":77,"request_size_bytes":100,"is_error":false}`)
	b.ReportAllocs()
	for b.Loop() {
		eventFrame(r)
	}
}
