package backends

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// scripted answers requests in turn.
type scripted struct {
	Instance // nil: only what is overridden may be called
	answers  []string
	errs     []error
	asked    []string
	done     chan struct{}
	exit     Exit
}

func (s *scripted) Request(_ context.Context, method string, params []byte) ([]byte, error) {
	s.asked = append(s.asked, fmt.Sprintf("%s %s", method, params))
	n := len(s.asked) - 1
	if n < len(s.errs) && s.errs[n] != nil {
		return nil, s.errs[n]
	}
	return []byte(s.answers[min(n, len(s.answers)-1)]), nil
}

func (s *scripted) Notify(method string, _ []byte) error {
	s.asked = append(s.asked, method)
	s.answers = append([]string{""}, s.answers...)
	return nil
}

func (s *scripted) Done() <-chan struct{} { return s.done }
func (s *scripted) Exit() Exit            { return s.exit }

const greeting = `{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"_meta":{"x":1e400}}`

func TestHandshakeKeepsEveryByteOfTheServer(t *testing.T) {
	tool := `{ "name":"a", "_meta":{"z":1,"y":[ 2 ]},"icons":[],"title":"T\u00e9" }`
	s := &scripted{answers: []string{greeting, `{"tools":[` + tool + `],"nextCursor":"c\"1"}`, `{"tools":[{"name":"b"}]}`}}
	cat, err := Handshake(t.Context(), "s", s, ClientInfo{Name: "n", Version: "v"})
	if err != nil {
		t.Fatal(err)
	}
	if string(cat.Initialize) != greeting || cat.ProtocolVersion != "2025-06-18" {
		t.Errorf("initialize %s", cat.Initialize)
	}
	if len(cat.Tools) != 2 || string(cat.Tools[0].Raw) != tool || cat.Tools[1].Name != "b" {
		t.Errorf("tools %+v", cat.Tools)
	}
	want := []string{
		`initialize {"capabilities":{},"clientInfo":{"name":"n","version":"v"},"protocolVersion":"` + ProtocolVersions[0] + `"}`,
		"notifications/initialized", "tools/list ", `tools/list {"cursor":"c\"1"}`,
	}
	if fmt.Sprint(s.asked) != fmt.Sprint(want) {
		t.Errorf("asked %q", s.asked)
	}
}

func TestHandshakeAsksNoToolsOfAServerWithoutThem(t *testing.T) {
	s := &scripted{answers: []string{`{"protocolVersion":"2024-11-05","capabilities":{}}`}}
	cat, err := Handshake(t.Context(), "s", s, ClientInfo{})
	if err != nil || len(cat.Tools) != 0 || len(s.asked) != 2 {
		t.Errorf("%+v, %v, asked %q", cat, err, s.asked)
	}
}

func TestHandshakeRefusesToolsThatCanBeReadInTwoWays(t *testing.T) {
	for _, tool := range []string{
		`{"name":"a","Name":"b"}`, `{"name":"a","name":"b"}`, `{"name":"a","n\u0061me":"b"}`,
		`{}`, `{"name":""}`, `{"name":1}`, `{"Name":"a"}`, `"a"`, `null`,
	} {
		s := &scripted{answers: []string{greeting, `{"tools":[` + tool + `]}`}}
		_, err := Handshake(t.Context(), "s", s, ClientInfo{})
		var start *StartError
		if !errors.Is(err, ErrProtocol) || !errors.As(err, &start) || start.Stage != StageTools {
			t.Errorf("%s: %v", tool, err)
		}
	}
}

func TestHandshakeBoundsTheToolList(t *testing.T) {
	page := `{"tools":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, 5000), ",") + `],"nextCursor":"%d"}`
	s := &scripted{answers: []string{greeting, fmt.Sprintf(page, 1), fmt.Sprintf(page, 2), fmt.Sprintf(page, 3)}}
	if _, err := Handshake(t.Context(), "s", s, ClientInfo{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("15,000 tools: %v", err)
	}
	large := `{"tools":[{"name":"a","description":"` + strings.Repeat("x", MaxToolBytes/4) + `"}],"nextCursor":"%d"}`
	s = &scripted{answers: []string{greeting}}
	for i := range 4 {
		s.answers = append(s.answers, fmt.Sprintf(large, i))
	}
	s.answers = append(s.answers, `{"tools":[]}`)
	if _, err := Handshake(t.Context(), "s", s, ClientInfo{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("more than %d bytes: %v", MaxToolBytes, err)
	}
	var answers []string
	for i := range maxToolPages + 10 {
		answers = append(answers, fmt.Sprintf(`{"tools":[],"nextCursor":"%d"}`, i))
	}
	s = &scripted{answers: append([]string{greeting}, answers...)}
	if _, err := Handshake(t.Context(), "s", s, ClientInfo{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("endless pages: %v", err)
	}
}

func TestHandshakeErrorNamesTheEndOfTheServer(t *testing.T) {
	done := make(chan struct{})
	close(done)
	exit := Exit{Code: -1, Signal: "SIGKILL", Err: ErrMessageTooLarge}
	for _, cause := range []error{ErrClosed, &CrashError{Server: "s", Exit: exit, Sent: true}} {
		s := &scripted{errs: []error{cause}, answers: []string{""}, done: done, exit: exit}
		_, err := Handshake(t.Context(), "s", s, ClientInfo{})
		if !errors.Is(err, ErrCrashed) || !errors.Is(err, ErrMessageTooLarge) || !strings.Contains(err.Error(), "SIGKILL") {
			t.Errorf("%v became %v", cause, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	s := &scripted{errs: []error{ctx.Err()}, answers: []string{""}}
	if _, err := Handshake(ctx, "s", s, ClientInfo{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestReleasedCallsStartAfresh(t *testing.T) {
	c := NewCall()
	id := c.ID
	c.Line, c.Session = append(c.Line, "x"...), 7
	c.MarkSent()
	c.Finish(ErrBusy)
	<-c.Done()
	c.Release()
	for range 10 {
		if c := NewCall(); c.ID <= id || c.Err != nil || c.Sent() || c.Session != 0 || len(c.Line) != 0 || len(c.Done()) != 0 {
			t.Errorf("got %+v", c)
		}
	}
}
