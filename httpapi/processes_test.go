package httpapi

import "testing"

func TestProcesses(t *testing.T) {
	r := send(t, testAPI(testFleet()), request{method: "GET", path: "/api/supervision/processes"})
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	golden(t, "processes", r.body)
}
