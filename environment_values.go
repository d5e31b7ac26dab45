package forgeauth

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/secret"
	"github.com/forgeauth/forgeauth/vault"
)

// quote makes a value safe to show: on one line, not too long, and without anything that looks like a credential,
// should one have been set in the wrong place.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(secret.Mask(s))
}

// databaseURL returns the URL, which is empty where there is a fault, and whether there is anything to be one: else the
// embedded Postgres is meant. It is quoted in no fault, as it may hold a password.
func (r *environmentReader) databaseURL() (value string, given bool) {
	for _, name := range []string{databaseVariable, databaseVariable + fileSuffix} {
		if value, set := r.values[name]; set && strings.TrimSpace(value) == "" {
			r.fault(name, "is set but empty", "unset it to use the Postgres that forgeauth runs itself, or set it to a URL")
			return "", true
		}
	}
	text, ok := r.secret(databaseVariable)
	if !ok || text.IsZero() {
		return "", !ok
	}
	const form = "write postgres://<user>:<password>@<host>:5432/<database>, every special character of the password percent-encoded"
	value = strings.TrimSpace(text.Reveal())
	scheme, _, isURL := strings.Cut(value, "://")
	switch {
	case !isURL && !strings.Contains(value, "="):
		r.fault(databaseVariable, "is neither a URL nor a list of key=value", form)
	case isURL && !strings.Contains(scheme, "=") && scheme != "postgres" && scheme != "postgresql":
		r.fault(databaseVariable, "is a URL but not one of Postgres", form)
	default:
		if _, err := pgx.ParseConfig(value); err == nil {
			return value, true
		}
		r.fault(databaseVariable, "cannot be understood, or a file that it names cannot be read",
			form+"; check the files of sslrootcert, sslcert and sslkey")
	}
	return "", true
}

// directURL returns the database's own address; given says that DATABASE_URL is set.
func (r *environmentReader) directURL(given bool) secret.Text {
	text, ok := r.secret(directVariable)
	if !ok || text.IsZero() {
		return secret.Text{}
	}
	const remedy = "set it to the address of DATABASE_URL's database without a pooler in between, or unset it"
	if !given {
		r.fault(directVariable, "is set, and DATABASE_URL is not", remedy)
		return secret.Text{}
	}
	if _, err := pgx.ParseConfig(text.Reveal()); err != nil {
		r.fault(directVariable, "cannot be understood, or a file that it names cannot be read", remedy)
		return secret.Text{}
	}
	return text
}

func (r *environmentReader) dataDir() string {
	const remedy = "set it to an absolute path, such as /var/lib/forgeauth"
	dir := r.text(dataDirVariable)
	switch {
	case dir == "" && r.root:
		return "/var/lib/forgeauth"
	case dir == "":
		// A relative XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
		if data := r.text("XDG_DATA_HOME"); filepath.IsAbs(data) {
			return filepath.Join(data, "forgeauth")
		}
		if home := r.text("HOME"); filepath.IsAbs(home) {
			return filepath.Join(home, ".local", "share", "forgeauth")
		}
		r.fault(dataDirVariable, "is not set, and neither are XDG_DATA_HOME and HOME, so there is no place for the data", remedy)
	case strings.HasPrefix(dir, "~"):
		r.fault(dataDirVariable, "begins with ~, which only a shell understands", "write the home directory out")
	case !filepath.IsAbs(dir):
		r.fault(dataDirVariable, "is relative, so it would depend on where forgeauth is started", remedy)
	default:
		return filepath.Clean(dir)
	}
	return ""
}

func (r *environmentReader) encryptionKey() secret.Text {
	if !r.sealing() || r.purpose == Checking && r.text(vault.KeyVariable)+r.text(vault.KeyVariable+fileSuffix) == "" {
		return secret.Text{}
	}
	key, ok := r.unstripped(vault.KeyVariable) // ParseKey strips, wherever a key comes from
	if !ok {
		return secret.Text{}
	}
	_, err := vault.ParseKey(key)
	if err == nil {
		return key
	}
	problem := "cannot be used"
	if bad, ok := errors.AsType[*vault.KeyError](err); ok {
		problem = bad.Problem
	}
	r.fault(vault.KeyVariable, problem, "make a key with `openssl rand -base64 32`, set "+vault.KeyVariable+" to it, or "+
		vault.KeyVariable+fileSuffix+" to a file that holds it, and keep a copy: without it stored tokens cannot be opened")
	return secret.Text{}
}

// previousKeys reads the keys that the encryption key has replaced.
func (r *environmentReader) previousKeys() []secret.Text {
	if !r.sealing() {
		return nil
	}
	list, ok := r.secret(previousKeysVariable)
	if !ok {
		return nil
	}
	var keys []secret.Text
	for one := range strings.FieldsSeq(list.Reveal()) {
		key := secret.New(one)
		if _, err := vault.ParseKey(key); err != nil {
			r.fault(previousKeysVariable, "holds what is no key", "set it to the values that "+vault.KeyVariable+" had before, separated by spaces")
			return nil
		}
		keys = append(keys, key)
	}
	return keys
}

func (r *environmentReader) listen() string {
	if r.text(listenVariable) == "" {
		return DefaultListen
	}
	return r.address(listenVariable)
}

// address returns an address and a port to listen on, empty where there is none or it is at fault.
func (r *environmentReader) address(name string) string {
	value := r.text(name)
	if value == "" {
		return ""
	}
	const remedy = "write address:port, such as 127.0.0.1:8080, or :8080 for every address"
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		r.fault(name, "is "+quote(value)+", which is not an address and a port", remedy)
		return ""
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		r.fault(name, "has the port "+quote(port)+", which is not a number from 1 to 65535", remedy)
		return ""
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		r.fault(name, "has the host "+quote(host)+", which is not an address of this machine", remedy)
		return ""
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10))
}

// publicURL returns the origin, in the form in which browsers send it. listen is empty where that is at fault.
func (r *environmentReader) publicURL(listen string) string {
	const remedy = "set it to where browsers reach forgeauth, such as https://auth.example.org"
	value := r.text(publicVariable)
	if value == "" {
		host, _, err := net.SplitHostPort(listen)
		if err != nil {
			return ""
		}
		if !forge.IsLoopback(host) {
			r.fault(publicVariable, "is missing, and "+listenVariable+" is not a loopback address", remedy)
			return ""
		}
		value = "http://" + listen
	}
	origin, err := forge.CanonicalBaseURL(value, true)
	if err != nil {
		problem := "is not a URL"
		if setting, ok := errors.AsType[*forge.SettingError](err); ok {
			problem = "is wrong: " + setting.Problem
		}
		r.fault(publicVariable, problem, remedy)
		return ""
	}
	u, err := url.Parse(origin)
	switch {
	case err != nil:
		r.fault(publicVariable, "is not a URL", remedy)
	case u.Path != "":
		r.fault(publicVariable, "has the path "+quote(u.Path)+", and forgeauth needs a host or port of its own", "leave the path out")
	case u.Scheme == "http" && !forge.IsLoopback(u.Hostname()):
		r.fault(publicVariable, "is http, over which sessions could be stolen on the way",
			"put a proxy with a certificate before forgeauth and write https://; http is for loopback alone")
	default:
		return origin
	}
	return ""
}

func (r *environmentReader) trustedProxies() []netip.Prefix {
	var trusted []netip.Prefix
	for _, entry := range splitList(r.text(proxiesVariable)) {
		prefix, problem, remedy := parseProxy(entry)
		if problem != "" {
			r.fault(proxiesVariable, "has the entry "+quote(entry)+", "+problem, remedy)
			continue
		}
		trusted = append(trusted, prefix)
	}
	return trusted
}

func parseProxy(entry string) (prefix netip.Prefix, problem, remedy string) {
	const form = "write addresses and networks, such as 192.0.2.10, 10.0.0.0/8"
	if addr, err := netip.ParseAddr(entry); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), "", ""
	}
	prefix, err := netip.ParsePrefix(entry)
	switch {
	case err != nil:
		return netip.Prefix{}, "which is neither an address nor a network", form
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, "which is an IPv4 network in IPv6 dress", form
	case prefix.Bits() == 0:
		return netip.Prefix{}, "which is everybody: any client could then write its own address", "name the proxies alone"
	case prefix != prefix.Masked():
		return netip.Prefix{}, "which is an address and a network at once", "write " + prefix.Masked().String() + " for the network or " +
			prefix.Addr().String() + " for the address"
	}
	return prefix, "", ""
}

func (r *environmentReader) logging() (level slog.Level, format LogFormat) {
	switch value := strings.ToLower(r.text(levelVariable)); value {
	case "debug":
		level = slog.LevelDebug
	case "", "info":
		level = slog.LevelInfo
	case "warn", "warning":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		r.fault(levelVariable, "is "+quote(value)+", which is no level", "use debug, info, warn or error")
	}
	switch value := strings.ToLower(r.text(formatVariable)); value {
	case "", string(LogText):
		format = LogText
	case string(LogJSON):
		format = LogJSON
	default:
		r.fault(formatVariable, "is "+quote(value)+", which is no format", "use text or json")
	}
	return level, format
}

// splitList returns the entries of a list separated by commas or space.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r' })
}
