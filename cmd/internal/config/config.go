package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/weft-net/weft/proto/note"
)

const (
	configFlag = "config"
	originKey  = "weft-origin" // annotation on a flag: where its value came from
	argsOnly   = "weft-args-only"
	alsoFrom   = "weft-also-from" // a further variable
)

// Options say where a command's settings are.
type Options struct {
	Name string                      // "server" or "agent": WEFT_<NAME>_CONFIG names the file
	File string                      // the default file; it may be missing. None: no file is read by default
	Env  func(string) (string, bool) // os.LookupEnv if nil
}

func (o Options) lookup(name string) (string, bool) {
	if o.Env != nil {
		return o.Env(name)
	}
	return os.LookupEnv(name)
}

func (o Options) configVar() string { return variable(o.Name) + "_CONFIG" }

// AddFlag registers --config. Load does it by itself; a command whose flags are
// parsed by somebody else (cobra) calls it before.
func AddFlag(fs *pflag.FlagSet, o Options) {
	if fs.Lookup(configFlag) == nil {
		fs.String(configFlag, o.File, "YAML `file` of settings, keys named as flags; drop-ins in <file>.d/*.yaml")
	}
}

// Load parses args into fs unless fs is parsed already, then fills the flags that
// args do not name from the environment and the file. It answers pflag.ErrHelp
// when help was asked for.
func Load(fs *pflag.FlagSet, args []string, o Options) error {
	AddFlag(fs, o)
	if !fs.Parsed() {
		if err := fs.Parse(args); errors.Is(err, pflag.ErrHelp) {
			return err
		} else if err != nil {
			return fmt.Errorf("config: %w; see --help", err)
		}
		if fs.NArg() > 0 {
			return fmt.Errorf("config: unexpected argument %q; settings are flags: see --help", fs.Arg(0))
		}
	}
	fs.Visit(func(f *pflag.Flag) {
		if Origin(fs, f.Name) == byDefault {
			setOrigin(f, "--"+f.Name)
		}
	})
	settings, err := o.read(fs)
	if err != nil {
		return err
	}
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed || special(f) {
			return
		}
		if s, ok := o.environment(f); ok {
			errs = append(errs, fill(f, s))
		} else if s, ok := settings[f.Name]; ok {
			errs = append(errs, fill(f, s))
		}
	})
	return errors.Join(errs...)
}

const byDefault = "default"

// Origin says where a flag's value came from, as an operator would look for it:
// "--mtu", "WEFT_MTU", "/etc/weft/agent.yaml:3 (mtu)", or "default".
func Origin(fs *pflag.FlagSet, name string) string {
	if f := fs.Lookup(name); f != nil && len(f.Annotations[originKey]) > 0 {
		return f.Annotations[originKey][0]
	}
	return byDefault
}

// ArgsOnly marks flags that are no settings, such as --version: neither the
// environment nor a file sets them.
func ArgsOnly(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if f := fs.Lookup(name); f != nil {
			annotate(f, argsOnly, "")
		}
	}
}

// variable is the one of a flag: cluster-cidr is WEFT_CLUSTER_CIDR.
func variable(flag string) string {
	return "WEFT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setting is a value that a flag takes from outside the command line.
type setting struct {
	values []string // one, or the items of a list
	list   bool
	origin string
	open   bool // the file can be read by others
}

// AlsoFrom names a further variable that sets a flag, one that operators have set for
// another program already. The flag's own beats it.
func AlsoFrom(fs *pflag.FlagSet, flag, variable string) {
	if f := fs.Lookup(flag); f != nil {
		annotate(f, alsoFrom, variable)
	}
}

func (o Options) environment(f *pflag.Flag) (setting, bool) {
	for _, name := range append([]string{variable(f.Name)}, f.Annotations[alsoFrom]...) {
		if v, ok := o.lookup(name); ok {
			return setting{values: []string{v}, origin: name}, true
		}
	}
	return setting{}, false
}

// fill gives a flag its value. pflag marks a flag as changed only by its set's
// own Set, which would also report the error under the flag's name alone.
func fill(f *pflag.Flag, s setting) error {
	_, secret := f.Value.(*secretValue)
	if secret && s.open {
		return fmt.Errorf("config: %s: others can read the secret in this file; run chmod 600 on it, or use --%s-file", s.origin, f.Name)
	}
	if err := put(f.Value, s); err != nil {
		if secret {
			return fmt.Errorf("config: %s: not accepted", s.origin)
		}
		return fmt.Errorf("config: %s: %q%w", s.origin, strings.Join(s.values, ","), accepted(f.Value, err))
	}
	f.Changed = true
	setOrigin(f, s.origin)
	return nil
}

// accepted says what a flag takes, where strconv only says that it does not.
func accepted(v pflag.Value, err error) error {
	if !errors.As(err, new(*strconv.NumError)) {
		return fmt.Errorf(": %w", err)
	}
	words := map[string]string{
		"int": "a whole number", "uint16": "a whole number from 0 to 65535", "uint32": "a whole number from 0 to 4294967295", "bool": "true or false",
	}
	return fmt.Errorf(" is not accepted; accepted: %s", cmp.Or(words[v.Type()], "a "+v.Type()))
}

func put(v pflag.Value, s setting) error {
	if !s.list {
		return v.Set(s.values[0])
	}
	many, ok := v.(pflag.SliceValue)
	if !ok {
		return errors.New("takes one value, not a list")
	}
	return many.Replace(s.values)
}

// special tells the flags that are no settings.
func special(f *pflag.Flag) bool {
	_, only := f.Annotations[argsOnly]
	return only || f.Name == configFlag || f.Name == "help"
}

func setOrigin(f *pflag.Flag, origin string) { annotate(f, originKey, origin) }

func annotate(f *pflag.Flag, key, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[key] = []string{value}
}

// SecretVar is a flag whose value is never printed: not in help, not in errors.
func SecretVar(fs *pflag.FlagSet, p *note.Secret, name, usage string) {
	fs.Var((*secretValue)(p), name, usage)
}

type secretValue note.Secret

func (s *secretValue) Set(v string) error { *s = secretValue(v); return nil }
func (*secretValue) Type() string         { return "secret" }
func (*secretValue) String() string       { return "" }

// names lists the settings that a file may hold, sorted.
func names(fs *pflag.FlagSet) []string {
	var out []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !special(f) {
			out = append(out, f.Name)
		}
	})
	slices.Sort(out)
	return out
}
