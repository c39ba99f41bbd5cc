package httpapi

import (
	"sync"
	"time"
)

// upgrades counts the connections that have left HTTP: fasthttp's shutdown
// neither waits for them nor closes them.
type upgrades struct {
	mu   sync.Mutex
	open int
	none chan struct{} // closed when there are none any more; nil unless somebody waits
}

// begin counts one more until the returned function is called, once.
func (u *upgrades) begin() (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.open--; u.open == 0 && u.none != nil {
			close(u.none)
			u.none = nil
		}
	}
}

// wait returns when there are none, or after the time given. It has one caller
// at a time.
func (u *upgrades) wait(limit time.Duration) {
	u.mu.Lock()
	if u.open == 0 {
		u.mu.Unlock()
		return
	}
	none := make(chan struct{})
	u.none = none
	u.mu.Unlock()
	over := time.NewTimer(limit)
	defer over.Stop()
	select {
	case <-none:
	case <-over.C:
	}
}
