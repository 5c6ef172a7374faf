package tailscale

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/note"
)

// Provider's name in --vpn-auth: the only one there is, as in K3s.
const providerName = "tailscale"

// Bounds of what an operator writes, in bytes and in arguments.
const (
	maxAuth = 16 << 10
	maxArgs = 32
)

// Auth is how a node comes into its tailnet.
type Auth struct {
	JoinKey    note.Secret    // empty: the node is logged in, or somebody will
	KeyFile    string         // holds the key instead, read at each try
	ControlURL string         // empty: Tailscale's own; else Headscale's
	Args       []string       // further flags of `tailscale up`, as --name=value or --name
	Routes     []netip.Prefix // to advertise beside the node's: --advertise-routes among the flags
}

// HasKey tells whether there is something to join with.
func (a Auth) HasKey() bool { return a.JoinKey != "" || a.KeyFile != "" }

// fields are the names that K3s's form has, and ours.
const (
	fieldName  = "name"
	fieldKey   = "joinKey"
	fieldFile  = "joinKeyFile"
	fieldURL   = "controlServerURL"
	fieldExtra = "extraArgs"
)

var fieldNames = []string{fieldName, fieldKey, fieldFile, fieldURL, fieldExtra}

const form = "write name=tailscale,joinKey=KEY,controlServerURL=URL,extraArgs=--FLAG --FLAG, of which all but the name may be left out"

// ParseAuth reads K3s's form of --vpn-auth: NAME=VALUE, separated by commas. A value
// goes from the first = to the next comma, so it may hold further =, as the keys of
// OAuth clients do; all that follows extraArgs= is flags, commas and all. A value
// with a comma has the structured form only (ParseFile). Errors never repeat a value.
func ParseAuth(s string) (Auth, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxAuth {
		return Auth{}, fmt.Errorf("%d bytes; at most %d", len(s), maxAuth)
	}
	given := map[string]string{}
	last := ""
	for rest, more := s, true; more; {
		var part string
		if strings.HasPrefix(rest, fieldExtra+"=") {
			part, more = rest, false
		} else {
			part, rest, more = strings.Cut(rest, ",")
		}
		name, value, ok := strings.Cut(part, "=")
		switch {
		case part == "" && last == "":
			return Auth{}, errors.New("is empty; " + form)
		case !ok && last != "":
			return Auth{}, fmt.Errorf("what follows the comma after %s is no NAME=VALUE; %s; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)", last, form)
		case !ok:
			return Auth{}, errors.New("does not begin with NAME=VALUE; " + form)
		case !slices.Contains(fieldNames, name):
			return Auth{}, fmt.Errorf("%s is not known; %s; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)", named(name, last), form)
		}
		if _, twice := given[name]; twice {
			return Auth{}, fmt.Errorf("%s is there twice", name)
		}
		given[name], last = value, name
	}
	args, err := split(given[fieldExtra])
	if err != nil {
		return Auth{}, err
	}
	return written{given[fieldName], given[fieldKey], given[fieldFile], given[fieldURL], args}.auth()
}

// named names a field that is not known, unless it may be the rest of a secret.
func named(name, last string) string {
	switch {
	case plain(name) && last != fieldKey:
		return name
	case last == "":
		return "the first name"
	}
	return "the name that follows the comma after " + last
}

// plain tells whether a text is a word that can be shown: no key looks so.
func plain(s string) bool {
	return s != "" && len(s) <= 24 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// split takes flags apart at spaces. The program's lists are separated by commas, so
// K3s has no way to write a value with a space, and neither has this form.
func split(s string) ([]string, error) {
	if strings.ContainsAny(s, `"'\`) {
		return nil, errors.New("extraArgs: quotes and backslashes mean nothing here; a value that holds a space goes into a file in the structured form (--vpn-auth-file)")
	}
	return strings.Fields(s), nil
}

// written is what an operator wrote, in either form.
type written struct {
	name, key, file, url string
	args                 []string
}

// auth refuses what cannot work.
func (w written) auth() (Auth, error) {
	a := Auth{JoinKey: note.Secret(w.key), KeyFile: w.file, ControlURL: w.url}
	switch {
	case w.name == "":
		return Auth{}, fmt.Errorf("name is missing; the provider of this release is %s", providerName)
	case w.name != providerName && plain(w.name):
		return Auth{}, fmt.Errorf("name %q is no provider of this release; accepted: %s", w.name, providerName)
	case w.name != providerName: // it may hold more than the name
		return Auth{}, fmt.Errorf("what follows name= is no provider of this release; accepted: %s", providerName)
	case w.key != "" && w.file != "":
		return Auth{}, errors.New("joinKey and joinKeyFile are both given; keep the file")
	case !oneWord(w.key):
		return Auth{}, errors.New("joinKey holds a space or a character that no key has")
	case strings.HasPrefix(w.key, "-"):
		return Auth{}, errors.New("joinKey begins with -, as a flag does")
	case strings.HasPrefix(w.key, "file:"):
		return Auth{}, errors.New("joinKey begins with file:; name the file with joinKeyFile")
	}
	if err := refuseURL(w.url); err != nil {
		return Auth{}, err
	}
	return a, a.takeArgs(w.args)
}

// oneWord tells whether a text holds no space, and nothing beyond ASCII.
func oneWord(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// refuseURL refuses what is no address of a control server.
func refuseURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return errors.New("controlServerURL is no URL of a control server, such as https://headscale.example.org")
	case u.User != nil:
		return errors.New("controlServerURL holds a user; a control server knows a node by its key")
	}
	return nil
}
