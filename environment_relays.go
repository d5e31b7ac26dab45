package forgeauth

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/forgeauth/forgeauth/events"
	"github.com/forgeauth/forgeauth/relay"
	"github.com/forgeauth/forgeauth/secret"
)

// relays reads every FORGEAUTH_RELAY_<NAME>_….
func (r *environmentReader) relays() []RelayConfig {
	var all []RelayConfig
	members, _ := r.members(relays)
	for _, m := range members {
		if config, ok := (relayReader{m}).relay(); ok {
			all = append(all, config)
		}
	}
	return all
}

// relayReader reads the settings of one relay.
type relayReader struct{ memberReader }

func (r relayReader) relay() (RelayConfig, bool) {
	before := len(r.faults)
	c := RelayConfig{Name: r.name, AllowPrivate: r.boolean("ALLOW_PRIVATE", false), RootCAs: r.rootCAs("destination")}
	url, ok := r.secret(r.prefix + "URL")
	if c.URL = url; ok && url.IsZero() {
		r.fault(r.prefix+"URL", "is missing", "write nats://, kafka:// or https:// and where to")
		ok = false
	}
	signing, signs := r.secret(r.prefix + "SECRET")
	for one := range strings.FieldsSeq(signing.Reveal()) {
		c.Secrets = append(c.Secrets, secret.New(one))
	}
	c.Types = r.types()
	if c.Checkpoints = r.boolean("CHECKPOINTS", false); c.Checkpoints {
		for _, name := range []string{"TYPES", "START", "ON_FAILURE"} {
			if r.text(r.prefix+name) != "" {
				r.fault(r.prefix+name, "is set for a relay of checkpoints, which carries no events", "unset it, or "+r.prefix+"CHECKPOINTS")
			}
		}
	}
	c.Start = r.start()
	switch value := strings.ToLower(r.text(r.prefix + "ON_FAILURE")); value {
	case "", "park":
		c.Then = events.Park
	case "pause":
		c.Then = events.Pause
	default:
		r.fault(r.prefix+"ON_FAILURE", "is "+quote(value), "write park or pause")
	}
	if ok && signs {
		r.note(c.validate())
	}
	return c, len(r.faults) == before
}

// note turns an error of a destination into a fault.
func (r relayReader) note(err error) {
	bad, ok := errors.AsType[*relay.SettingError](err)
	switch {
	case err == nil:
	case !ok:
		r.fault(r.prefix+"URL", "cannot be used", secret.Mask(err.Error()))
	default:
		r.fault(r.prefix+bad.Setting, bad.Problem, strings.ReplaceAll(bad.Remedy, "ALLOW_PRIVATE", r.prefix+"ALLOW_PRIVATE"))
	}
}

func (r relayReader) types() []string {
	names := splitList(r.text(r.prefix + "TYPES"))
	for _, name := range names {
		if slices.Contains(events.Types(), name) {
			continue
		}
		remedy := "use some of " + strings.Join(events.Types(), ", ")
		if found, _ := nearest(name, events.Types()); found != "" {
			remedy = "did you mean " + found + "?"
		}
		r.fault(r.prefix+"TYPES", "has the entry "+quote(name)+", which is no type of event", remedy)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r relayReader) start() events.Start {
	value := r.text(r.prefix + "START")
	if value == "" {
		return events.FromNow()
	}
	moment, err := events.ParseMoment(strings.ToLower(value), time.Time{})
	if err != nil { // RFC 3339 has capitals
		moment, err = events.ParseMoment(value, time.Time{})
	}
	if err != nil {
		r.fault(r.prefix+"START", "is "+quote(value)+", which is neither a position nor a time", "write now, beginning, a position or a time such as 2026-01-31T00:00:00Z")
		return nil
	}
	return moment.Start()
}
