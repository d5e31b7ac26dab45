package forgeauth

import (
	"path/filepath"
	"strings"

	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
)

// SigningFromEnvironment reads how a log is signed and nothing else, for work that has no database. The error is a *[ConfigError].
func SigningFromEnvironment(environ []string) (SigningConfig, error) {
	r := newEnvironmentReader(environ, Maintaining, false)
	c := r.signing()
	if len(r.faults) > 0 {
		return SigningConfig{}, &ConfigError{Faults: r.faults}
	}
	return c, nil
}

// signing reads how the log is signed. Work beside the service needs none of it and uses what there is.
func (r *environmentReader) signing() SigningConfig {
	var c SigningConfig
	var ok bool
	if c.Key, ok = r.secret(signingVariable); !ok {
		return SigningConfig{}
	}
	previous, ok := r.secret(previousSigningVariable)
	if !ok {
		return SigningConfig{}
	}
	for one := range strings.FieldsSeq(previous.Reveal()) {
		c.Previous = append(c.Previous, secret.New(one))
	}
	c.Public = r.boolean(publicLogVariable, false)
	switch c.CheckpointFile = r.text(checkpointVariable); {
	case c.CheckpointFile != "" && !filepath.IsAbs(c.CheckpointFile):
		r.fault(checkpointVariable, "is relative, so it would depend on where forgeauth is started", "set it to an absolute path")
	case c.CheckpointFile == "" && !c.Key.IsZero() && r.purpose == Serving:
		r.fault(checkpointVariable, "is missing, and "+signingVariable+" is set", "name a file outside of the database, such as /var/lib/forgeauth-checkpoint/newest")
	}
	if c.Key.IsZero() {
		if len(c.Previous) > 0 {
			r.fault(previousSigningVariable, "is set, and "+signingVariable+" is not", "set "+signingVariable+", or unset both")
		}
		return c
	}
	if _, err := proof.ParseKeys(c.Key); err != nil {
		r.fault(signingVariable, "is no signing key", "make one with `forgeauth keys generate NAME`")
	} else if _, err := c.Keys(); err != nil {
		r.fault(previousSigningVariable, "holds what is no signing key of the same name", "unset it, or set it to the keys that "+signingVariable+" had before")
	}
	return c
}
