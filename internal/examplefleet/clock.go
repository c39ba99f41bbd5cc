package examplefleet

import (
	"fmt"
	"time"
	_ "time/tzdata" // time zones also where the host has no zone files

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type zoneInput struct {
	TimeZone string `json:"time_zone,omitempty" jsonschema:"IANA name such as Europe/Berlin, UTC if left out"`
}

type durationInput struct {
	Time     string `json:"time" jsonschema:"start time in RFC 3339, such as 2026-03-01T12:00:00Z"`
	Duration string `json:"duration" jsonschema:"hours, minutes and seconds to add, such as 36h, 1h30m or -90s"`
}

type moment struct {
	Time     string `json:"time" jsonschema:"RFC 3339"`
	TimeZone string `json:"time_zone"`
	Weekday  string `json:"weekday"`
	Unix     int64  `json:"unix"`
}

func newClock() *mcp.Server {
	s := mcp.NewServer(implementation("clock", "Clock"), nil)
	now := readOnly()
	now.IdempotentHint = false // the answer is another one each time
	addTool(s, "now", "Tell the time in a time zone.", now, func(in zoneInput) (moment, error) {
		return timeIn(time.Now(), in.TimeZone)
	})
	addTool(s, "add_duration", "Add a duration to a time.", readOnly(), func(in durationInput) (moment, error) {
		start, err := time.Parse(time.RFC3339, in.Time)
		if err != nil {
			return moment{}, fmt.Errorf("%q is no RFC 3339 time such as 2026-03-01T12:00:00Z", in.Time)
		}
		d, err := time.ParseDuration(in.Duration)
		if err != nil {
			return moment{}, fmt.Errorf("%q is no duration such as 36h, 1h30m or -90s", in.Duration)
		}
		return describe(start.Add(d)), nil
	})
	return s
}

func timeIn(t time.Time, zone string) (moment, error) {
	if zone == "" {
		zone = "UTC"
	}
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return moment{}, fmt.Errorf("no time zone %q, the name must be one of IANA's, such as Europe/Berlin", zone)
	}
	return describe(t.In(location)), nil
}

func describe(t time.Time) moment {
	zone := t.Location().String()
	if zone == "" { // a bare offset, as RFC 3339 has them
		zone = t.Format("-07:00")
	}
	return moment{Time: t.Format(time.RFC3339), TimeZone: zone, Weekday: t.Weekday().String(), Unix: t.Unix()}
}
