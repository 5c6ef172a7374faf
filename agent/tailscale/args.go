package tailscale

import (
	"fmt"
	"net/netip"
	"strings"
)

// refused are flags of `tailscale up` that are not passed on, with what to do.
var refused = map[string]string{
	"auth-key":      "write joinKey or joinKeyFile",
	"authkey":       "write joinKey or joinKeyFile",
	"client-secret": "write it as joinKey",
	"id-token":      "log in by hand (tailscale up), and leave joinKey out",
	"login-server":  "write controlServerURL",
	"reset":         "it would wipe what else this node is set to",
	"force-reauth":  "run it by hand, once",
	"timeout":       "the agent waits, and tries again",
	"json":          "the agent reads what it needs",
	"qr":            "nobody would see it",
	"host-routes":   "tailscale takes no other value than true",
}

// takeArgs reads further flags of `tailscale up`, each as --name=value, --name value
// or --name.
func (a *Auth) takeArgs(in []string) error {
	if len(in) > maxArgs {
		return fmt.Errorf("extraArgs: %d words; at most %d", len(in), maxArgs)
	}
	seen := map[string]bool{}
	for i := 0; i < len(in); i++ {
		name, value, has := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(in[i], "-"), "-"), "=")
		switch {
		case !strings.HasPrefix(in[i], "-") || !flagName(name):
			return fmt.Errorf("extraArgs: word %d is no flag of tailscale up; write --NAME or --NAME=VALUE", i+1)
		case refused[name] != "":
			return fmt.Errorf("extraArgs: --%s is not passed on: %s", name, refused[name])
		case seen[name]:
			return fmt.Errorf("extraArgs: --%s is there twice", name)
		}
		seen[name] = true
		if !has && i+1 < len(in) && !strings.HasPrefix(in[i+1], "-") {
			i, value, has = i+1, in[i+1], true
		}
		if err := a.takeArg(name, value, has); err != nil {
			return err
		}
	}
	return nil
}

// takeArg takes one flag.
func (a *Auth) takeArg(name, value string, has bool) error {
	switch {
	case name == "advertise-routes":
		return a.takeRoutes(value)
	case name == "accept-routes" && has && value != "true":
		return fmt.Errorf("extraArgs: --accept-routes=%.10s would cut this node off: pods of others are reached by routes that it accepts; leave it out", value)
	case name == "accept-routes":
	case has:
		a.Args = append(a.Args, "--"+name+"="+value)
	default:
		a.Args = append(a.Args, "--"+name)
	}
	return nil
}

// takeRoutes reads what the operator wants advertised beside the node's prefixes.
func (a *Auth) takeRoutes(list string) error {
	for s := range strings.SplitSeq(list, ",") {
		if s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return fmt.Errorf("extraArgs: --advertise-routes: %.60q is no prefix, such as 192.168.1.0/24", s)
		case p != p.Masked():
			return fmt.Errorf("extraArgs: --advertise-routes: %v has host bits; did you mean %v", p, p.Masked())
		case p.Bits() == 0:
			return fmt.Errorf("extraArgs: --advertise-routes: %v makes the node an exit; write --advertise-exit-node", p)
		}
		a.Routes = append(a.Routes, p)
	}
	a.Routes = sorted(a.Routes)
	return nil
}

func flagName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && s[0] != '-'
}

// says tells whether the flags hold one of a name.
func (a Auth) says(name string) bool {
	for _, arg := range a.Args {
		if n, _, _ := strings.Cut(arg, "="); n == "--"+name {
			return true
		}
	}
	return false
}
