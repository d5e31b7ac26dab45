package relay

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forgeauth/forgeauth/events"
)

// scrapeTime bounds what one scrape asks of the database.
const scrapeTime = 5 * time.Second

// gauges of a consumer group; each has the label group.
var (
	lagEvents  = gauge("lag_events", "Events of the group's types after its cursor.")
	lagSeconds = gauge("lag_seconds", "For how long the first of the events after the cursor has been waiting.")
	parked     = gauge("parked_streams", "Streams that the group holds back, because an event in them could not be handled.")
	attempts   = gauge("failed_attempts", "Failed tries at the event that is next; 0 if it is not failing.")
	live       = gauge("live", "1 if a process runs the group.")
	paused     = gauge("paused", "1 if the group waits for a person to retry or skip an event.")
	disabled   = gauge("disabled", "1 if the group is given nothing until it is enabled.")
	degraded   = gauge("degraded", "1 if the group does not hear of forge switches: it is paused or disabled, or holds back the stream active-forge.")
)

var scraped = prometheus.NewDesc("forgeauth_subscriptions_up", "1 if the database could say how the groups stand.", nil, nil)

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("forgeauth_subscription_"+name, help, []string{"group"}, nil)
}

type collector struct {
	subscriptions *events.Subscriptions
}

// NewCollector returns the metrics of all consumer groups of the log, whichever process runs them. They are read from the database at
// each scrape.
func NewCollector(subscriptions *events.Subscriptions) prometheus.Collector {
	return collector{subscriptions}
}

// Describe implements [prometheus.Collector].
func (collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{scraped, lagEvents, lagSeconds, parked, attempts, live, paused, disabled, degraded} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	groups, err := c.subscriptions.List(ctx)
	to <- prometheus.MustNewConstMetric(scraped, prometheus.GaugeValue, number(err == nil))
	for _, g := range groups {
		set := func(d *prometheus.Desc, value float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, g.Name)
		}
		set(lagEvents, float64(g.Lag))
		set(lagSeconds, g.Behind.Seconds())
		set(parked, float64(len(g.Parked)))
		set(attempts, float64(g.Attempts))
		set(live, number(g.Live))
		set(paused, number(g.Paused))
		set(disabled, number(!g.DisabledAt.IsZero()))
		set(degraded, number(g.Degraded()))
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
