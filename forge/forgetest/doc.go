// Package forgetest is a strict stand-in forge. It speaks OAuth 2.0 and the part of each forge's API that this module
// uses, over real HTTP, so that tests and the demo need no account anywhere.
//
// # What it owns
//
// A [Forge] owns its accounts, applications, consents, codes and tokens, in memory, behind one lock. It is an
// [net/http.Handler]; [Start] puts it on a loopback port for a test and [Listen] for a program. Under it is
// github.com/go-oauth2/oauth2 as the OAuth server (docs/adr/0003 says why that one): the library binds codes to client,
// redirect URI and challenge, refuses exchanges that do not match, and orders what a refresh replaces. Each [Dialect]
// adds what its forge makes of that: paths, lifetimes, rotation, the words and statuses of refusals, the API.
//
// # What is strict
//
// Where a forge is known, the stand-in answers as it does, faults included. Where the real forge is more lenient than
// a careful client should rely on, the stand-in is not:
//   - redirect URIs are compared byte by byte, with those registered and, at the exchange, with the one authorized
//     (Gitea ignores case and a trailing slash; GitHub takes sub-paths);
//   - a challenge that was sent is enforced, a verifier without a challenge refused, and GitHub and GitLab take S256
//     only; [Config.RequirePKCE] refuses requests without one;
//   - the first consent is no exception to PKCE, unlike the Gitea that was recorded ([Config.FirstConsentSkipsPKCE]);
//   - parameters of the token endpoint are read from the body, never from the query;
//   - client credentials are read from where the forge documents them: GitHub and GitLab from parameters only,
//     Bitbucket from HTTP Basic only;
//   - a device's first poll has to wait for the interval, too, and one that comes too soon lengthens it for good;
//   - GitHub spends a code even on a refused exchange, because nothing says that it does not.
//
// # Life of a secret
//
// A code lives ten minutes and works once; a device code works once a person has agreed ([Forge.ApproveDevice]), and once.
// An access token lives as long as its dialect says. A refresh token works until it expires, is spent or is revoked:
// GitHub Apps and GitLab spend it on use and revoke the access token beside it at once; Gitea and Forgejo, where rotation is
// on, compare a counter per user and application, so that a later login kills the refresh token of an earlier one; Bitbucket
// takes a spent one for ten minutes more. A grant is one transaction: of eight refreshes at once with one single-use token,
// one succeeds. Every secret ever issued stays in [Forge.Issued], for tests that look for leaks.
//
// # Repositories
//
// What a repository holds (files, issues, changes, statuses, webhooks) is kept in no forge's shape and written down by the
// dialect. Tests do to it what people do: [Forge.Commit], [Forge.OpenIssue], [Forge.RenameRepository]. [Forge.Deliver] tells the
// webhooks what happened, signed as the forge signs.
//
// # Failure
//
// [Forge.Next] orders a [Fault] for the next request to an endpoint. A fault strikes before or instead of the work or,
// as with [CutAfter], once it is done. Requests that a fault holds end when their client gives up or the forge is
// closed. [Forge.Requests] and [Forge.Await] say what arrived, so that no test needs to sleep.
package forgetest
