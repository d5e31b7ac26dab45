// Package webhook posts the events of a feed to an HTTP endpoint, as Standard Webhooks asks for
// (https://www.standardwebhooks.com): the CloudEvent in structured mode as body, signed over its id, the time of the try and each byte
// of it.
//
// # Outcomes
//
// An endpoint says with its status whether the event or the endpoint is at fault:
//
//	2xx                                    taken
//	410                                    the endpoint is gone: *[GoneError], on which whoever runs the relay disables it
//	400, 409, 422 and other 4xx            against the event: tried a few times over minutes, then parked
//	413                                    the event is parked at once
//	401, 403, 404, 405, 407, 3xx           the endpoint is not set up: everything waits
//	408, 425, 429, 5xx, no answer at all   the endpoint is down: everything waits, at least as long as Retry-After says
//
// Waiting is the feed's: nothing is held open meanwhile, and the time of the next try outlives the process ([Policy]). An
// endpoint that has been down for [GiveUp.After] is given up.
//
// # Where it connects
//
// Who can set a URL must not be able to make forgeauth talk to what only forgeauth can reach. The address is checked when it is
// dialled, after it was resolved, so that a name that changes its mind in between gains nothing. Whatever is not public by
// the IANA's special-purpose registries is refused unless the relay allows it, and plain http is refused to whatever is. No redirect
// is followed, no proxy of the environment used, no cookie kept.
package webhook
