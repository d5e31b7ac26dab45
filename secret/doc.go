// Package secret holds the one type in which tokens, keys and client secrets travel through this module, and the log
// handler that stands behind it.
//
// A [Text] cannot be printed by accident: every verb of fmt, slog, JSON, text and XML encoders, templates, and errors
// that wrap it show "[redacted]". What was redacted refuses to be read back as if it were the value, and gob and SQL
// arguments, whose reader would keep the redaction as the value, are refused on the way out already. The only way out
// is [Text.Reveal], so that a search for Reveal lists every place where a secret leaves the program.
//
// A secret that has become a plain string (a forge's error text, a URL in an error of net/http) is out of that type's
// reach. [NewLogHandler] is the second line: it masks what looks like a token in everything that is logged. It knows
// shapes, not values, and so is no licence to log secrets.
//
// It is a package of its own because both the vault, which seals secrets, and the forge adapters, which send them,
// need it, and neither may import the other.
package secret
