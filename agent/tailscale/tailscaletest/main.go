package tailscaletest

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
)

// Main is one call of the program on the daemon of a file. It returns the exit status.
// Calls at once come one after the other.
func Main(path string, args []string, stdout, stderr io.Writer) int {
	unlock, err := lock(path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	defer unlock()
	d, err := Load(path)
	if err == nil && d.Off && !(len(args) > 0 && args[0] == control) {
		err = errors.New("failed to connect to local tailscaled; it doesn't appear to be running (sudo systemctl start tailscaled ?)")
	}
	if err == nil {
		err = d.Call(args, stdout, stderr)
	}
	if err == nil {
		err = d.Save(path)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// lock keeps others away from a daemon's file until it is called.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// Call is one call of the program on a daemon in memory.
func (d *Daemon) Call(args []string, stdout, stderr io.Writer) error {
	switch {
	case slices.Equal(args, []string{"status", "--json"}):
		return json.NewEncoder(stdout).Encode(d.status())
	case slices.Equal(args, []string{"debug", "prefs"}):
		return json.NewEncoder(stdout).Encode(d.prefs())
	case len(args) == 0:
		return errors.New("missing subcommand")
	case args[0] == control:
		return d.control(args[1:], stdout)
	}
	d.Calls = append(d.Calls, strings.Join(args, " "))
	switch args[0] {
	case "up":
		return d.up(args[1:], stderr)
	case "set":
		return d.set(args[1:], stdout)
	case "down":
		if len(args) > 1 {
			return fmt.Errorf("too many non-flag arguments: %q", args[1:])
		}
		if d.backend() != "NeedsLogin" {
			d.Backend = "Stopped"
		}
		return nil
	}
	return fmt.Errorf("tailscale: unknown subcommand: %s", args[0])
}

// settings reads flags that are settings, beside some that are not.
func settings(name string, args []string, also func(*flag.FlagSet)) (map[string]string, error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	all := maps.Clone(defaults)
	if name == "set" {
		maps.Copy(all, setOnly)
		delete(all, "login-server")
		delete(all, "advertise-tags")
	}
	for flag, value := range all {
		if value == "true" || value == "false" || flag == "auto-update" {
			fs.Bool(flag, value == "true", "")
		} else {
			fs.String(flag, value, "")
		}
	}
	also(fs)
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("too many non-flag arguments: %q", fs.Args())
	}
	given := map[string]string{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
	return given, checkRoutes(given["advertise-routes"])
}

// checkRoutes refuses what is no list of prefixes.
func checkRoutes(list string) error {
	if list == "" {
		return nil
	}
	for s := range strings.SplitSeq(list, ",") {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return fmt.Errorf("%q is not a valid IP address or CIDR prefix", s)
		case p != p.Masked():
			return fmt.Errorf("%s has non-address bits set; expected %s", p, p.Masked())
		case p.Bits() == 0:
			return fmt.Errorf("%s advertised without its counterpart", p)
		}
	}
	return nil
}

func (d *Daemon) set(args []string, stdout io.Writer) error {
	given, err := settings("set", args, func(*flag.FlagSet) {})
	switch {
	case err != nil:
		return err
	case len(given) == 0:
		_, err := fmt.Fprintln(stdout, "Change specified preferences")
		return err
	}
	for name, value := range given {
		d.Set(name, value)
	}
	return nil
}

func (d *Daemon) up(args []string, stderr io.Writer) error {
	var key string
	var reset, force bool
	given, err := settings("up", args, func(fs *flag.FlagSet) {
		fs.StringVar(&key, "auth-key", "", "")
		fs.BoolVar(&reset, "reset", false, "")
		fs.BoolVar(&force, "force-reauth", false, "")
		fs.Duration("timeout", 0, "")
	})
	if err != nil {
		return err
	}
	if len(given) == 0 && d.Known && d.backend() != "NeedsLogin" {
		d.start()
		return nil
	}
	if !reset && d.Known {
		if err := d.reverts(given); err != nil {
			return err
		}
	}
	if now, asked := given["login-server"]; asked && d.Known && d.backend() == "Running" && now != d.Get("login-server") && !force {
		return errors.New("can't change --login-server without --force-reauth")
	}
	secret, err := read(key)
	if err != nil {
		return err
	}
	login := d.backend() == "NeedsLogin"
	if secret != "" || force || d.backend() != "Running" { // else it sets what is given, and no more
		d.Flags, d.Exit = nil, ""
	}
	for name := range defaults {
		if value, ok := given[name]; ok {
			d.Set(name, value)
		}
	}
	d.Known = true // it is set before anybody is asked
	if login {
		if err := d.login(secret, stderr); err != nil {
			return err
		}
	}
	d.start()
	return nil
}

// login asks the control server.
func (d *Daemon) login(key string, stderr io.Writer) error {
	if key == "" {
		fmt.Fprint(stderr, "\nTo authenticate, visit:\n\n\thttps://login.tailscale.com/a/0123456789abcd\n\n")
		return errors.New(`timeout waiting for Tailscale service to enter a Running state; check health with "tailscale status"`)
	}
	if d.Keys[key] == 0 {
		return errors.New("backend error: invalid key: unable to validate API key")
	}
	d.Keys[key]--
	return nil
}

// start is what follows a login.
func (d *Daemon) start() {
	d.Known, d.Backend = true, "Running"
	if d.Vet {
		d.Backend = "NeedsMachineAuth"
	}
}

// reverts refuses to reset a setting that is not mentioned.
func (d *Daemon) reverts(given map[string]string) error {
	var missing, explicit []string
	for _, name := range slices.Sorted(maps.Keys(d.Flags)) {
		if _, of := setOnly[name]; of {
			continue
		}
		if _, ok := given[name]; !ok && name != "stateful-filtering" {
			missing = append(missing, "--"+name+"="+d.Flags[name])
		}
	}
	if len(missing) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		explicit = append(explicit, "--"+name+"="+given[name])
	}
	return errors.New("Error: changing settings via 'tailscale up' requires mentioning all\n" +
		"non-default flags. To proceed, either re-run your command with --reset or\n" +
		"use the command below to explicitly mention the current value of\n" +
		"all non-default settings:\n\n\ttailscale up " + strings.Join(append(explicit, missing...), " ") + "\n")
}

// read gives what --auth-key names.
func read(key string) (string, error) {
	path, ok := strings.CutPrefix(key, "file:")
	if !ok {
		return key, nil
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
