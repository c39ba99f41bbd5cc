package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"
)

// maxScrapes bounds the scrapes that are answered at once, since each holds
// every sample of the node in memory; one more is told 429.
const maxScrapes = 4

var errScrapes = errors.New("too many scrapes at once; scrape less often, or from fewer places")

// Status is what metrics tell of the node beyond its servers and groups.
type Status struct {
	MemoryBytes    int64 // of all servers when last measured
	MemoryBudget   int64 // 0 = none
	MemoryPressure bool  // idle servers are being stopped
	StartsHeld     bool  // for want of memory, starts are let through one at a time

	StartsInProgress, StartsWaiting int

	EventLogBytes, EventLogMaxBytes, EventLogPosition uint64
	EventsDropped                                     uint64 // since the runtime started; they are in no log
}

// metricsPage makes GET /metrics. All that it tells is read at the scrape, from
// views that others publish anyway: a call costs nothing for it.
type metricsPage struct {
	registry *prometheus.Registry
	scrapes  chan struct{}
}

// newMetricsPage has a registry of its own: the library's default one belongs
// to whoever embeds the runtime.
func newMetricsPage(runtime Runtime, now func() time.Time) *metricsPage {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		fleetCollector{runtime, now},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return &metricsPage{registry, make(chan struct{}, maxScrapes)}
}

func (a *API) metrics(ctx *fasthttp.RequestCtx) error {
	select {
	case a.page.scrapes <- struct{}{}:
		defer func() { <-a.page.scrapes }()
	default:
		return errScrapes
	}
	families, err := a.page.registry.Gather()
	if err != nil {
		return fmt.Errorf("cannot gather the metrics: %w", err)
	}
	var body bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&body, family); err != nil {
			return fmt.Errorf("cannot write the metric %s: %w", family.GetName(), err)
		}
	}
	ctx.SetContentType(string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.Response.SetBodyRaw(body.Bytes())
	return nil
}
