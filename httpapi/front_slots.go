package httpapi

import (
	"context"
	"sync"
)

const (
	defaultExecution      = 50
	defaultServerParallel = 10
)

// batchLimits are the slots of all batches together and of each server among
// them (execution.max_concurrency and default_mcp_server_concurrency).
type batchLimits struct {
	all       chan struct{}
	perServer int
	mu        sync.Mutex
	servers   map[string]*serverSlots
}

// serverSlots live while a call holds or wants one.
type serverSlots struct {
	slots chan struct{}
	users int
}

func newBatchLimits(all, perServer int) *batchLimits {
	if all <= 0 {
		all = defaultExecution
	}
	if perServer <= 0 {
		perServer = defaultServerParallel
	}
	return &batchLimits{
		all: make(chan struct{}, all), perServer: perServer,
		servers: make(map[string]*serverSlots),
	}
}

// acquire takes the server's slot first, so that calls waiting for one busy
// server hold no slot that others could use.
func (l *batchLimits) acquire(ctx context.Context, server string) (release func(), err error) {
	// A select takes either way when both are open; a call that was given up
	// must not be made.
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	s := l.servers[server]
	if s == nil {
		s = &serverSlots{slots: make(chan struct{}, l.perServer)}
		l.servers[server] = s
	}
	s.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(l.servers, server)
		}
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
	select {
	case l.all <- struct{}{}:
	case <-ctx.Done():
		<-s.slots
		leave()
		return nil, context.Cause(ctx)
	}
	release = func() {
		<-l.all
		<-s.slots
		leave()
	}
	if ctx.Err() != nil {
		release()
		return nil, context.Cause(ctx)
	}
	return release, nil
}
