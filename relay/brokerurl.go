package relay

import (
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/forgeauth/forgeauth/secret"
)

// BrokerURL is where a broker is: <scheme>://[<user>:<password>@]<host>[:<port>][,<host>[:<port>]…]/<path>[?<option>=<value>&…].
type BrokerURL struct {
	// Addresses are host:port, at least one.
	Addresses []string
	User      string
	Password  secret.Text
	// Path is without slashes around it.
	Path    string
	Options map[string]string
}

// ParseBrokerURL reads a broker's URL. Where an address has no port it has the one that is given; other options than the named ones are
// refused. The error is a *[SettingError].
func ParseBrokerURL(raw secret.Text, scheme, port string, options ...string) (BrokerURL, error) {
	form := "write " + scheme + "://[<user>:<password>@]<host>:" + port + "[,<host>:" + port + "]/<name>, every special character of the password percent-encoded"
	refuse := func(problem, remedy string) error {
		return &SettingError{Setting: "URL", Problem: problem, Remedy: remedy}
	}
	rest, ok := strings.CutPrefix(raw.Reveal(), scheme+"://")
	if !ok {
		return BrokerURL{}, refuse("does not begin with "+scheme+"://", form)
	}
	// Several addresses are no URL. What is around them is.
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndexByte(authority, '@')
	u, err := url.Parse(scheme + "://" + authority[:at+1] + "host" + tail)
	if err != nil {
		return BrokerURL{}, refuse("cannot be understood", form)
	}
	if u.Fragment != "" {
		return BrokerURL{}, refuse("holds a fragment", form)
	}
	b := BrokerURL{Path: strings.Trim(u.Path, "/"), Options: map[string]string{}}
	if u.User != nil {
		password, _ := u.User.Password()
		b.User, b.Password = u.User.Username(), secret.New(password)
	}
	for one := range strings.SplitSeq(authority[at+1:], ",") {
		host, givenPort, err := net.SplitHostPort(one)
		if err != nil {
			host, givenPort = strings.Trim(one, "[]"), port
		}
		if host == "" || strings.ContainsAny(host, " %") || givenPort == "" {
			return BrokerURL{}, refuse("has an address without a host or with an empty port", form)
		}
		b.Addresses = append(b.Addresses, net.JoinHostPort(host, givenPort))
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return BrokerURL{}, refuse("has options that cannot be understood", form)
	}
	for name, value := range values {
		if !slices.Contains(options, name) || len(value) > 1 {
			return BrokerURL{}, refuse("has an option that is not known, or twice", "use "+strings.Join(options, ", ")+", each once")
		}
		b.Options[name] = value[0]
	}
	return b, nil
}

// Flag reads an option that is true or false; false if it is not there. The error is a *[SettingError].
func (b BrokerURL) Flag(name string, otherwise bool) (bool, error) {
	switch b.Options[name] {
	case "":
		return otherwise, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, &SettingError{Setting: "URL", Problem: "has the option " + name + " with another value than true or false", Remedy: "write " + name + "=true"}
	}
}
