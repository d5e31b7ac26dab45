package forgeauth

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"slices"
	"strings"
)

// family is a group of settings of which there are as many as there are names: FORGEAUTH_FORGE_<NAME>_….
type family struct {
	prefix string // of the variables
	one    string // what a name stands for
	whole  string // likewise, with its article
}

var (
	forges = family{forgePrefix, "connection", "a forge"}
	relays = family{relayPrefix, "relay", "a relay"}
)

// suffixes returns what follows the prefix and a name: _KIND, _CLIENT_SECRET_FILE, ….
func (f family) suffixes() []string {
	var all []string
	for _, s := range Settings() {
		if suffix, ok := strings.CutPrefix(s.Name, f.prefix+namePart); ok {
			all = append(all, suffix)
			if s.Secret {
				all = append(all, suffix+fileSuffix)
			}
		}
	}
	return all
}

// split cuts a variable into prefix, name and suffix; the suffix is empty where there is no name or none of ours ends the
// variable. The longest suffix counts, so that a name may hold the words of one.
func (f family) split(variable string) (name, suffix string) {
	rest := strings.TrimPrefix(variable, f.prefix)
	for _, known := range f.suffixes() {
		if before, ok := strings.CutSuffix(rest, known); ok && before != "" && len(known) > len(suffix) {
			name, suffix = before, known
		}
	}
	return name, suffix
}

// memberReader reads the settings of one name.
type memberReader struct {
	*environmentReader

	name   string          // in lower case with dashes
	prefix string          // of its variables
	failed map[string]bool // settings that have a fault already
}

// members finds the names of a family. names holds those at fault too.
func (r *environmentReader) members(f family) (members []memberReader, names []string) {
	spellings := map[string][]string{} // <NAME> as written, by the name
	for _, variable := range r.names(f.prefix) {
		written, suffix := f.split(variable)
		if suffix == "" {
			r.unknownMember(f, variable)
			continue
		}
		if strings.TrimSpace(r.values[variable]) == "" {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(written, "_", "-"))
		if !slices.Contains(spellings[name], written) {
			spellings[name] = append(spellings[name], written)
		}
	}
	names = slices.Sorted(maps.Keys(spellings))
	for _, name := range names {
		written := spellings[name]
		if len(written) > 1 {
			r.fault(f.prefix+written[0]+"_…", "and "+f.prefix+written[1]+"_… are both the "+f.one+" "+quote(name),
				"write the name in one way: "+variablePart(name))
			continue
		}
		members = append(members, memberReader{environmentReader: r, name: name, prefix: f.prefix + written[0] + "_", failed: map[string]bool{}})
	}
	return members, names
}

func (r *environmentReader) unknownMember(f family, variable string) {
	if isServiceLink(variable) {
		return
	}
	rest := strings.TrimPrefix(variable, f.prefix)
	remedy := "use " + f.prefix + namePart + " and one of " + strings.Join(f.suffixes(), ", ")
	least := 0
	for i := range rest {
		if rest[i] != '_' || i == 0 {
			continue
		}
		if suffix, distance := nearest(rest[i:], f.suffixes()); suffix != "" && (least == 0 || distance < least) {
			least = distance
			remedy = "did you mean " + f.prefix + rest[:i] + suffix + "?"
		}
	}
	r.fault(variable, "is not a setting of "+f.whole, remedy)
}

func (r memberReader) rootCAs(whose string) *x509.CertPool {
	file := r.text(r.prefix + "CA_FILE")
	if file == "" {
		return nil
	}
	remedy := "name a PEM file with the certificate of the authority that signed the " + whose + "'s"
	refuse := func(problem string) *x509.CertPool {
		r.fault(r.prefix+"CA_FILE", "names "+quote(file)+", which "+problem, remedy)
		return nil
	}
	content, _, problem := readSettingFile(file)
	if problem != "" {
		return refuse(problem)
	}
	pool, found := x509.NewCertPool(), false
	for block, rest := pem.Decode([]byte(content)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return refuse("holds a damaged certificate")
		}
		pool.AddCert(certificate)
		found = true
	}
	if !found {
		return refuse("holds no certificate")
	}
	return pool
}

func (r memberReader) boolean(setting string, otherwise bool) bool {
	return r.environmentReader.boolean(r.prefix+setting, otherwise)
}

// boolean reads true or false.
func (r *environmentReader) boolean(name string, otherwise bool) bool {
	switch value := strings.ToLower(r.text(name)); value {
	case "":
		return otherwise
	case "true", "false":
		return value == "true"
	default:
		r.fault(name, "is "+quote(value), "write true or false")
		return otherwise
	}
}
