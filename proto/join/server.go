package join

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// ParseServer reads what --server accepts, https://HOST[:PORT] or HOST[:PORT],
// and returns HOST:PORT.
func ParseServer(s string) (string, error) {
	hint := "write https://HOST:" + DefaultPort
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok {
		u, err := url.Parse(s)
		if err != nil || scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return "", fmt.Errorf("server %q is not https://HOST:PORT; %s", s, hint)
		}
		rest = strings.TrimRight(after, "/")
	}
	if a, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		return net.JoinHostPort(a.String(), DefaultPort), nil
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = rest, DefaultPort
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if _, ip := netip.ParseAddr(host); err != nil || number == 0 || ip != nil && !isName(host) {
		return "", fmt.Errorf("server %q names no host and port; %s", s, hint)
	}
	return net.JoinHostPort(host, port), nil
}

func isName(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	})
}
