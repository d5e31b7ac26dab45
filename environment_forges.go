package forgeauth

import (
	"errors"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/commands"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
)

// connections reads every FORGEAUTH_FORGE_<NAME>_…. names holds every connection's name, those at fault too.
func (r *environmentReader) connections() (connections []forge.Connection, names []string) {
	members, names := r.members(forges)
	for _, m := range members {
		if connection, ok := (connectionReader{m}).connection(m.name); ok {
			connections = append(connections, connection)
		}
	}
	return connections, names
}

// connectionReader reads the settings of one connection.
type connectionReader struct{ memberReader }

// note turns an error of package forge into faults, each setting's first one only.
func (r connectionReader) note(err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, part := range joined.Unwrap() {
			r.note(part)
		}
		return
	}
	var bad *forge.SettingError
	if !errors.As(err, &bad) || r.failed[bad.Setting] {
		return
	}
	remedy := bad.Remedy
	for _, other := range []string{"ALLOW_HTTP", "CA_FILE"} {
		remedy = strings.ReplaceAll(remedy, other, r.prefix+other)
	}
	name := r.prefix + bad.Setting
	if bad.Setting == "NAME" {
		name = r.prefix + "…"
	}
	r.failed[bad.Setting] = true
	r.fault(name, "is wrong: "+secret.Mask(bad.Problem), remedy)
}

func (r connectionReader) connection(name string) (forge.Connection, bool) {
	c := forge.Connection{Name: name, ClientID: r.text(r.prefix + "CLIENT_ID")}
	before := len(r.faults)
	info := r.kind(name)
	c.Kind = info.Kind
	if c.ClientID == "" {
		r.failed["CLIENT_ID"] = true
		r.fault(r.prefix+"CLIENT_ID", "is missing", "copy it from the OAuth application's page at the forge")
	}
	clientSecret, ok := r.secret(r.prefix + "CLIENT_SECRET")
	c.ClientSecret = clientSecret
	r.failed["CLIENT_SECRET"] = clientSecret.IsZero()
	if ok && clientSecret.IsZero() {
		r.fault(r.prefix+"CLIENT_SECRET", "is missing", "generate one on the OAuth application's page at the forge, and set it or "+
			r.prefix+"CLIENT_SECRET_FILE")
	}
	allowHTTP := r.boolean("ALLOW_HTTP", false)
	c.Login = r.boolean("LOGIN", true)
	c.BaseURL = info.BaseURL
	if written := r.text(r.prefix + "BASE_URL"); written != "" {
		canonical, err := forge.CanonicalBaseURL(written, allowHTTP)
		r.note(err)
		c.BaseURL = canonical
	}
	c.Scopes = r.scopes(info)
	c.RootCAs = r.rootCAs("forge")
	r.note(c.Validate())
	return c, len(r.faults) == before
}

// kind returns the defaults of the connection's kind, or nothing if there is a fault: the settings that depend on it cannot
// be judged then.
func (r connectionReader) kind(name string) forge.KindInfo {
	written := strings.ToLower(r.text(r.prefix + "KIND"))
	kind, err := forge.ParseKind(written)
	if written == "" {
		kind, err = forge.ParseKind(name)
	}
	if err != nil {
		var known []string
		for _, info := range forge.Kinds() {
			known = append(known, string(info.Kind))
		}
		problem := "is " + quote(written) + ", which is no kind of forge"
		if written == "" {
			problem = "is missing, and the name " + quote(name) + " is no kind of forge"
		}
		// Scopes cannot be judged without a kind, nor can a base URL be missed.
		r.failed["KIND"], r.failed["SCOPES"], r.failed["BASE_URL"] = true, true, r.text(r.prefix+"BASE_URL") == ""
		r.fault(r.prefix+"KIND", problem, "use one of "+strings.Join(known, ", "))
	}
	info, _ := forge.Info(kind)
	return info
}

// scopes keeps what it does not know, for [forge.CheckScopes] to refuse.
func (r connectionReader) scopes(info forge.KindInfo) []string {
	written := splitList(r.text(r.prefix + "SCOPES"))
	switch {
	case len(written) == 0:
		return info.Scopes
	case len(written) == 1 && strings.EqualFold(written[0], "none"):
		return []string{}
	}
	slices.Sort(written)
	return slices.Compact(written)
}

// operators returns nil where the variable is not set. names holds every connection's name, those at fault too.
func (r *environmentReader) operators(connections []forge.Connection, names []string) []commands.AllowedAccount {
	value, set := r.values[operatorsVariable]
	if !set {
		return nil
	}
	const form = "write forge:account_id, separated by commas, such as github:583231"
	entries := splitList(value)
	if len(entries) == 0 {
		r.fault(operatorsVariable, "is set but names nobody", form+", or unset it to let the setup code decide")
		return nil
	}
	operators := make([]commands.AllowedAccount, 0, len(entries))
	for _, entry := range entries {
		forgeType, account, ok := strings.Cut(entry, ":")
		refuse := func(problem, remedy string) {
			r.fault(operatorsVariable, "has the entry "+quote(entry)+problem, remedy)
		}
		switch {
		case !ok || forgeType == "" || account == "":
			refuse(", which is not a forge and an account id", form)
			continue
		case !slices.Contains(names, forgeType):
			refuse(", and there is no forge of that name", unknownForgeRemedy(forgeType, names))
			continue
		}
		i := slices.IndexFunc(connections, func(c forge.Connection) bool { return c.Name == forgeType })
		if wanted := accountIDForm(forgeType, connections, i, account); wanted != "" {
			_, noun, _ := strings.Cut(wanted, " ")
			refuse(", whose account id is not "+wanted, "write the account's immutable "+noun+", which forgeauth shows to whoever "+
				"it turns away; a login name can change hands")
			continue
		}
		if i >= 0 && !connections[i].Login {
			r.warn(operatorsVariable, "has the entry "+quote(entry)+", and that forge is no way in",
				"remove "+forgePrefix+variablePart(forgeType)+"_LOGIN, or the entry")
		}
		allowed := commands.AllowedAccount{ForgeType: forgeType, AccountID: account}
		if !slices.Contains(operators, allowed) {
			operators = append(operators, allowed)
		}
	}
	return operators
}

func unknownForgeRemedy(forgeType string, names []string) string {
	if len(names) == 0 {
		return "configure it first: " + forgePrefix + variablePart(forgeType) + "_CLIENT_ID and _CLIENT_SECRET"
	}
	_, err := forge.ParseKind(forgeType) // github is not gitlab misspelt
	if found, _ := nearest(strings.ToLower(forgeType), names); found != "" && err != nil {
		return "did you mean " + found + "?"
	}
	return "use one of " + strings.Join(names, ", ")
}

// accountIDForm says what an account's id is at the connection with that index, if this is none, and nothing if it is one. Of a
// connection at fault, whose index is negative, only the name is known, which may be that of a kind.
func accountIDForm(name string, connections []forge.Connection, i int, account string) string {
	kind := forge.Kind(name)
	if i >= 0 {
		kind = connections[i].Kind
	}
	switch _, known := forge.Info(kind); {
	case kind.IsAccountID(account), !known && forge.Bitbucket.IsAccountID(account):
		return ""
	case kind == forge.Bitbucket:
		return "an Atlassian id"
	}
	return "a number"
}
