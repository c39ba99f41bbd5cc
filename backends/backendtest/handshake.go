package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/backends"
)

var handshakeCases = []contractCase{
	{"handshake reads every page and keeps tools whole", handshakeWhole},
	{"nothing is allowed before initialized", handshakeOrder},
	{"handshake waits for a slow server", handshakeSlow},
	{"handshake gives up at its deadline", handshakeHang},
	{"handshake reports a crash", handshakeCrash},
	{"handshake refuses another protocol version", handshakeVersion},
}

func handshakeWhole(b *bench) {
	s := b.start(Behaviour{Tools: 30, Page: 4})
	cat := s.handshake()
	if cat.ProtocolVersion != backends.ProtocolVersions[0] {
		b.Errorf("protocol version %q", cat.ProtocolVersion)
	}
	if !strings.Contains(string(cat.Initialize), `"serverInfo"`) || !json.Valid(cat.Initialize) {
		b.Errorf("the initialize result is not whole: %s", cat.Initialize)
	}
	seen := make(map[string]bool)
	for _, tool := range cat.Tools {
		if seen[tool.Name] {
			b.Errorf("tool %q twice", tool.Name)
		}
		seen[tool.Name] = true
		var whole struct {
			Name        string
			Description string
			InputSchema struct{ Type string } `json:"inputSchema"`
		}
		if err := json.Unmarshal(tool.Raw, &whole); err != nil || whole.Name != tool.Name || whole.Description == "" || whole.InputSchema.Type != "object" {
			b.Errorf("tool %q is not whole (%v): %s", tool.Name, err, tool.Raw)
		}
	}
	for i := range 30 {
		if name := "dummy_" + strconv.Itoa(i); !seen[name] {
			b.Errorf("tool %q is missing", name)
		}
	}
	if tool := cat.Tool([]byte("echo")); tool == nil || tool.Name != "echo" {
		b.Errorf("tool echo: %v", tool)
	}
	if got := s.text("dummy_29", nil); got != "dummy_29" {
		b.Errorf("dummy_29 answered %q", got)
	}
}

func handshakeOrder(b *bench) {
	s := b.start(Behaviour{})
	var rpc *backends.RPCError
	if _, err := s.Request(b.Context(), "tools/list", nil); !errors.As(err, &rpc) || rpc.Code != -32002 {
		b.Errorf("tools/list before initialize: %v", err)
	}
	s.handshake()
}

func handshakeSlow(b *bench) {
	s := b.start(Behaviour{InitDelay: 200 * time.Millisecond})
	begin := time.Now()
	s.handshake()
	b.within("the handshake", time.Since(begin), 200*time.Millisecond, patience)
}

// C12
func handshakeHang(b *bench) {
	s := b.start(Behaviour{InitHang: true})
	begin := time.Now()
	ctx, cancel := context.WithTimeout(b.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := backends.Handshake(ctx, "hanging", s, backends.ClientInfo{})
	var start *backends.StartError
	if !errors.As(err, &start) || start.Stage != backends.StageInitialize || start.Server != "hanging" || !errors.Is(err, context.DeadlineExceeded) {
		b.Errorf("got %v", err)
	}
	b.within("the handshake", time.Since(begin), 300*time.Millisecond, 5*time.Second)
}

// C12
func handshakeCrash(b *bench) {
	s := b.start(Behaviour{InitCrash: true})
	_, err := s.tryHandshake()
	var start *backends.StartError
	if !errors.As(err, &start) || start.Stage != backends.StageInitialize || !errors.Is(err, backends.ErrCrashed) || !strings.Contains(err.Error(), "exit code 3") {
		b.Errorf("got %v", err)
	}
	if exit := s.awaitEnd(); exit.Code != 3 || exit.Asked || exit.Err != nil {
		b.Errorf("exit %+v", exit)
	}
}

// C12
func handshakeVersion(b *bench) {
	s := b.start(Behaviour{InitBadVersion: true})
	_, err := s.tryHandshake()
	if !errors.Is(err, backends.ErrPermanent) || !strings.Contains(err.Error(), "1999-01-01") || !strings.Contains(err.Error(), backends.ProtocolVersions[0]) {
		b.Errorf("got %v", err)
	}
}
