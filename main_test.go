package hangar_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/testserver"
)

// The test binary is the reaper and the stub server, too. When all tests are done, nothing
// that any of them started may still run in this process.
func TestMain(m *testing.M) {
	hangar.BeReaper()
	testserver.ExecIfRequested()
	code := m.Run()
	if err := leaked(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, "after all tests:", err)
		code = 1
	}
	os.Exit(code)
}

// leaked waits a while for every goroutine to end and tells of those that do
// not. The actor library counts dead letters for one second more. Two of
// fasthttp's are left out: the cleaner of a server's workers ends too, but
// first sleeps out its 10 s; the clock of the Date header is one for the whole
// process and stays.
func leaked(options ...goleak.Option) error {
	http.DefaultClient.CloseIdleConnections()
	options = append(options,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := goleak.Find(options...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
