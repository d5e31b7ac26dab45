// Package http is forgeauth's front door: sign-in, the operator's routes, and the pages of a browser. Importers alias it
// forgehttp.
//
// It decodes, calls [commands.Commands], and encodes. What OAuth, custody and sessions mean is decided there; what this
// package owns is the protocol of HTTP:
//
//	router    [New]: every route, and for each whether it needs a session
//	door      what holds for all of them: host, origin, headers, client address, panics, access log
//	limits    what a client without a live session may do, in bounded memory
//	known     which sessions were live when last looked up, and are asked about without limit
//	cookies   one session cookie, one cookie per sign-in under way, one for who was turned away
//	accept    JSON unless a browser asks for HTML
//	errors    one table from the errors of the packages below to codes, statuses and sentences
//	problem   RFC 9457 documents, or the same as a page
//	events    GET /events: what a client wants to hear, and whether it may
//	stream    one such stream, until its client goes, its session ends or the process does
//	streams   how many there may be
//	pages     html/template and one style sheet, no JavaScript
//
// # Routes
//
//	GET    /login                        page with a button for each forge; ?error=<code>&return=/path
//	POST   /oauth/{forge}/init           starts a sign-in: 303 to the forge, for a browser a page that leads there;
//	                                     ?return=/path, form field setup_code
//	GET    /oauth/{forge}/init           303 to the forge if the browser says that a page here sent it, or, without a session,
//	                                     that no site did; else a page with a button
//	GET    /oauth/{forge}/callback       303 to the return path with a fresh session, else to /login?error=<code>, which for
//	                                     an account that may not sign in is a 403 and names it (a program gets that at once);
//	                                     for a sign-in that was started in a terminal a page that says to take the address there
//	POST   /logout                       ends the session; tokens stay
//	GET    /                             the operator's page
//	GET    /me                           {forge_type, account_login, base_url, since}; 401, 412
//	GET    /forges                       {forges: […]}; never a token
//	PUT    /forges/active                {forge_type} → {events: […]}    as a form: POST /forges/active
//	DELETE /forges/active                {events: […]}                   as a form: POST /forges/active/clear
//	DELETE /forges/{forge}               {events: […], revocation: {outcome, next_attempt_at, page}}, the outcome being
//	                                     confirmed, unsupported, given_up or pending
//	                                     as a form: POST /forges/{forge}/disconnect
//	GET    /forge/repositories           {forge_type, account_login, repositories, next}; ?limit=1…1000&cursor=
//	GET    /events                       the log as Server-Sent Events: id is the position, event the type, data the CloudEvent;
//	                                     header Last-Event-ID, ?from=now|beginning|position|time&type=…; 409 for a position
//	                                     that the log has not reached
//	GET    /healthz                      the process answers
//	GET    /readyz                       database, schema, key, log; 503 when not ready
//	GET    /assets/…                     the style sheet and the icon, under names that hold their hash
//
// # A request
//
//	request id · access log · panics · security headers · host (421) · cross-origin (403) · route (404, 405)
//	· limits (429, unless known to be live) · session (one query) · handler
//
// A session is looked up once, by whoever needs it. One that was live when last looked up is looked up again whatever its
// client has spent, so a flood from the operator's own address, or through a proxy whose header is not trusted, does not
// lock the operator out. All other cookies are guesses and count before the query, so the flood is not one of queries.
// A session that the process has not seen yet, as after a restart, looks like one of those. So when a client that has spent
// its limit sends a cookie, all live sessions are read, at most once a second, and its is known if it is among them.
//
// # Streams
//
// GET /events has no end, so none of the limits of time is for it. It begins with what is appended from now on, unless the client says
// otherwise, and first of all names the position it begins after: whatever cuts it off, the client knows where to go on, and so loses
// nothing and hears nothing twice. A heartbeat is a block with an id and no data, which moves the client's position past what it did
// not ask for and gives it no event. All streams of a process read from its one [events.Feed]. Each ends with its session, by
// SessionEnded on the log or by time; and, after which the client connects again, when the client does not take what is written to it
// and when the process drains. An open stream keeps its session in use.
//
// # Failure
//
// A handler returns an error and [problemOf] knows what it is; what it does not know is logged and becomes a bare 500.
// No answer repeats what a browser or a forge sent, with one exception: who was refused may read their own forge_type
// and account id. The log gets the route and never a query string, which holds codes and states.
package http
