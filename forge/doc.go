// Package forge is the vocabulary of code forges and the one way by which this module talks to them. It owns no state
// but connections in a pool; tokens pass through it and stay nowhere.
//
// # Parts
//
//	Connection   one configured forge. CanonicalBaseURL, CheckScopes, ParseKind, ValidName and Connection.Validate check
//	             what configuration says; each fault is a *SettingError with its remedy
//	Provider     a forge without a token: AuthorizeURL, Exchange and Refresh, and StartDevice and PollDevice (RFC 8628)
//	Port         a forge with one operator's token: what Provider cannot do without one
//	Keeper       holds a port's token, and is told when the forge refuses it
//	HookVerifier checks the deliveries of webhooks, without a token and without the network
//	Transport    the part of Provider that is the same everywhere; adapters embed it
//	Caller       the part of Port that is the same everywhere; adapters embed it
//	Dialect      what an adapter tells the transport: paths, and how its forge words a refusal
//
// An adapter (forge/github, forge/gitlab, forge/gitea, forge/bitbucket) is a New that fills in a Dialect, and the shapes of its
// API's answers.
//
// # Where a token goes
//
// To the connection's API base and web root: scheme, host, port and path prefix as configured, and nowhere else. The
// round tripper that adds the token is below [http.Client], so that redirects pass it too, and it adds the token to a copy of
// the request, so that [http.Client] has none to carry along. It refuses, with ErrDestination: other hosts however they are
// written, user info, a Host header of another virtual host, and paths that climb out of the prefix, also where only a
// server that decodes twice would see it. Redirects and pagination links are held to the same rule before anything follows
// them; token, revocation and profile requests follow no redirect at all.
//
// Proxies of the environment are not used, for they would be a destination that configuration does not name; see
// Options.Proxy.
//
// # How often
//
// Exchange, Refresh, StartDevice, PollDevice and Revoke send one request and never a second. They use a connection of their
// own, dialled for that request: on a kept connection, which the forge may be closing at that moment, a single-use code
// would be lost without having been used, and repeating it is not an option. net/http repeats a request by itself only if no
// byte of it was written, or if it is idempotent, which a POST without GetBody and Idempotency-Key is not. All other
// requests are made once, too, and retrying is the caller's to decide; but a GET on a kept connection that turns out to be
// closed is sent again by net/http, and one that is answered 401 is made a second time if the keeper has another token by
// then and the request's body can be had again. There is no third time.
//
// # What an answer means
//
//	2xx that parses                           the result
//	401, also with another token              ErrNeedsReauth, or what the keeper says of it
//	403                                       *RateLimitedError, *ScopeMissingError or ErrForbidden, as the dialect reads it
//	404, 410                                  ErrNotFound; with a *ScopeMissingError in it where the dialect reads one
//	429                                       *RateLimitedError
//	400, 422 to a request that writes         ErrInvalid, or what the dialect reads in the body: ErrConflict, ErrNotFound, …
//	409 to a request that writes              ErrConflict
//	301, 307, 308 to a request that writes    ErrMoved, which is an ErrNotFound; it is not sent on
//	3xx where none belongs, other 4xx, 5xx,
//	no answer in time, too long, not JSON     ErrUnavailable
//	a token endpoint's error code             *ExchangeError, with a status 2xx as with 4xx; *RefreshRejectedError if
//	                                          the dialect reads it as the end of a refresh token
//	a request that was not sent at all        ErrNotSent
//	a revocation that is not confirmed        ErrUnavailable, or *ExchangeError if it was the client that was refused
//
// ErrUnavailable never says anything about the token. When an exchange ends with it, the code may or may not be used up:
// start the sign-in anew. When a refresh ends with it, the refresh token may or may not be used up, unless it is ErrNotSent.
//
// # What is kept from a forge's answer
//
// Ids, which are positive numbers or, at Bitbucket, UUIDs and Atlassian ids; strings, cleaned by CleanString; scope names;
// an error code reduced to [a-z_]. No error and no log line holds anything else of a body, a header or a query string:
// errors of net/http, of the OAuth library and of client libraries are replaced by sentences of this package, since they
// quote URLs, Location headers and bodies. Web and clone addresses are built from the configured base URL.
package forge
