package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"github.com/weft-net/weft/proto/note"
)

type server struct {
	cidrs   []string
	backend string
	mtu     int
	direct  bool
	token   note.Secret
	version bool
}

func flags(s *server) *pflag.FlagSet {
	fs := pflag.NewFlagSet("weft-server", pflag.ContinueOnError)
	fs.StringSliceVar(&s.cidrs, "cluster-cidr", []string{"10.42.0.0/16"}, "")
	fs.StringVar(&s.backend, "backend", "vxlan", "")
	fs.IntVar(&s.mtu, "mtu", 0, "")
	fs.BoolVar(&s.direct, "direct-routing", false, "")
	fs.BoolVar(&s.version, "version", false, "")
	SecretVar(fs, &s.token, "token", "")
	ArgsOnly(fs, "version")
	return fs
}

// load writes files below a folder of its own and loads with server.yaml there.
func load(t *testing.T, files map[string]string, env map[string]string, args ...string) (server, *pflag.FlagSet, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var s server
	fs := flags(&s)
	AlsoFrom(fs, "backend", "K3S_BACKEND")
	err := Load(fs, args, Options{Name: "server", File: "server.yaml", Env: func(k string) (string, bool) {
		v, ok := env[k]
		return v, ok
	}})
	return s, fs, err
}

func TestPrecedence(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		name  string
		files m
		env   m
		args  []string
		want  string // cidrs backend mtu direct, then the origin of backend
	}{
		{"defaults", nil, nil, nil, "[10.42.0.0/16] vxlan 0 false from default"},
		{"file", m{"server.yaml": "backend: host-gw\nmtu: 1400\n"}, nil, nil, "[10.42.0.0/16] host-gw 1400 false from server.yaml:1 (backend)"},
		{"environment beats file", m{"server.yaml": "backend: host-gw"}, m{"WEFT_BACKEND": "none"}, nil, "[10.42.0.0/16] none 0 false from WEFT_BACKEND"},
		{"a further variable beats file", m{"server.yaml": "backend: host-gw"}, m{"K3S_BACKEND": "none"}, nil, "[10.42.0.0/16] none 0 false from K3S_BACKEND"},
		{"ours beats a further one", nil, m{"K3S_BACKEND": "none", "WEFT_BACKEND": "host-gw"}, nil, "[10.42.0.0/16] host-gw 0 false from WEFT_BACKEND"},
		{"flag beats both", m{"server.yaml": "backend: host-gw"}, m{"WEFT_BACKEND": "none"}, []string{"--backend=vxlan"}, "[10.42.0.0/16] vxlan 0 false from --backend"},
		{"a list", m{"server.yaml": "cluster-cidr:\n- 10.0.0.0/8\n- fd00::/48\n"}, nil, nil, "[10.0.0.0/8 fd00::/48] vxlan 0 false from default"},
		{"a list with commas", m{"server.yaml": "cluster-cidr: 10.0.0.0/8,fd00::/48"}, nil, nil, "[10.0.0.0/8 fd00::/48] vxlan 0 false from default"},
		{"list in the environment", nil, m{"WEFT_CLUSTER_CIDR": "10.0.0.0/8,fd00::/48"}, nil, "[10.0.0.0/8 fd00::/48] vxlan 0 false from default"},
		{"empty list", m{"server.yaml": "cluster-cidr: []"}, nil, nil, "[] vxlan 0 false from default"},
		{"drop-ins in order", m{"server.yaml": "mtu: 1", "server.yaml.d/20-b.yaml": "mtu: 3", "server.yaml.d/10-a.yaml": "mtu: 2\nbackend: none", "server.yaml.d/x.txt": "mtu: 4"}, nil, nil, "[10.42.0.0/16] none 3 false from server.yaml.d/10-a.yaml:2 (backend)"},
		{"drop-ins alone", m{"server.yaml.d/a.yaml": "mtu: 3"}, nil, nil, "[10.42.0.0/16] vxlan 3 false from default"},
		{"another file", m{"x.yaml": "mtu: 9"}, nil, []string{"--config", "x.yaml"}, "[10.42.0.0/16] vxlan 9 false from default"},
		{"another file by variable", m{"x.yaml": "mtu: 9"}, m{"WEFT_SERVER_CONFIG": "x.yaml"}, nil, "[10.42.0.0/16] vxlan 9 false from default"},
		{"the operator's WEFT_CONFIG is not ours", nil, m{"WEFT_CONFIG": "admin.yaml"}, nil, "[10.42.0.0/16] vxlan 0 false from default"},
		{"version is no setting", nil, m{"WEFT_VERSION": "true"}, nil, "[10.42.0.0/16] vxlan 0 false from default"},
		{"off stays text", m{"server.yaml": "backend: off\ndirect-routing: true"}, nil, nil, "[10.42.0.0/16] off 0 true from server.yaml:1 (backend)"},
		{"empty file", m{"server.yaml": "# nothing\n"}, nil, nil, "[10.42.0.0/16] vxlan 0 false from default"},
		{"false on the command line", m{"server.yaml": "direct-routing: true"}, nil, []string{"--direct-routing=false"}, "[10.42.0.0/16] vxlan 0 false from default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, fs, err := load(t, c.files, c.env, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(s.cidrs, " ", s.backend, " ", s.mtu, " ", s.direct, " from ", Origin(fs, "backend"))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	type m = map[string]string
	for _, c := range []struct {
		name  string
		files m
		env   m
		args  []string
		want  string
	}{
		{"unknown key", m{"server.yaml": "mtu: 1\ncluster-cird: 10.0.0.0/8"}, nil, nil, `server.yaml:2 (cluster-cird): no such setting; did you mean "cluster-cidr"?`},
		{"unknown key, nothing near", m{"server.yaml": "zzzzzz: 1"}, nil, nil, "no such setting; --help lists them"},
		{"unknown flag", nil, nil, []string{"--cluster-cird", "x"}, "unknown flag: --cluster-cird"},
		{"no settings in files", m{"server.yaml": "version: true"}, nil, nil, "no such setting"},
		{"config in the file", m{"server.yaml": "config: x"}, nil, nil, "no such setting"},
		{"a mapping", m{"server.yaml": "mtu:\n  a: 1"}, nil, nil, "server.yaml:1 (mtu): takes a value or a list of values"},
		{"not a mapping", m{"server.yaml": "- a"}, nil, nil, "server.yaml:1: want lines \"setting: value\""},
		{"twice", m{"server.yaml": "mtu: 1\nmtu: 2"}, nil, nil, "server.yaml:2 (mtu): is already set at server.yaml:1 (mtu)"},
		{"malformed", m{"server.yaml": "mtu: [1"}, nil, nil, "line 1"},
		{"no value", m{"server.yaml": "mtu:\n"}, nil, nil, "server.yaml:1 (mtu): has no value"},
		{"no value in a list", m{"server.yaml": "cluster-cidr: [~]"}, nil, nil, "line 1: an item of the list is no value"},
		{"list for one value", m{"server.yaml": "mtu: [1, 2]"}, nil, nil, "server.yaml:1 (mtu): \"1,2\": takes one value, not a list"},
		{"bad value in a file", m{"server.yaml": "mtu: many"}, nil, nil, `server.yaml:1 (mtu): "many"`},
		{"bad value in the environment", nil, m{"WEFT_MTU": "many"}, nil, `WEFT_MTU: "many"`},
		{"bad value of a flag", nil, nil, []string{"--mtu=many"}, `"--mtu" flag`},
		{"argument", nil, nil, []string{"start"}, `unexpected argument "start"`},
		{"explicit file is missing", nil, nil, []string{"--config", "x.yaml"}, "x.yaml: no such file"},
		{"file of the variable is missing", nil, m{"WEFT_SERVER_CONFIG": "x.yaml"}, nil, "x.yaml: no such file"},
		{"a folder", m{"x.yaml/a": ""}, nil, []string{"--config", "x.yaml"}, "x.yaml is not a file"},
		{"too large", m{"server.yaml": "# " + strings.Repeat("x", maxFile)}, nil, nil, "larger than"},
		{"secret in an open file", m{"server.yaml": "token: abc"}, nil, nil, "others can read the secret"},
		{"bad drop-in", m{"server.yaml.d/a.yaml": "nope: 1"}, nil, nil, "server.yaml.d/a.yaml:1 (nope)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.files, c.env, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var s server
	fs := flags(&s)
	fs.Usage = func() {}
	if err := Load(fs, []string{"--help"}, Options{Name: "server"}); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("got %v", err)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	s, fs, err := load(t, nil, map[string]string{"WEFT_TOKEN": "abc"})
	if err != nil || s.token.Reveal() != "abc" {
		t.Fatalf("token %q, %v", s.token.Reveal(), err)
	}
	if strings.Contains(fs.FlagUsages()+fs.Lookup("token").Value.String(), "abc") {
		t.Error("the secret is printed")
	}
}

func TestParsedByCobraBefore(t *testing.T) {
	var s server
	fs := flags(&s)
	o := Options{Name: "server", Env: func(k string) (string, bool) { return "7", k == "WEFT_MTU" }}
	AddFlag(fs, o)
	if err := fs.Parse([]string{"--backend", "none", "rest"}); err != nil {
		t.Fatal(err)
	}
	if err := Load(fs, nil, o); err != nil || s.backend != "none" || s.mtu != 7 {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mtu: 1", "cluster-cidr: [a, b]", "a:\n- b\n", "? x\n: y", "<<: *a", "mtu: !!binary aGk=", "\"mtu\": off"} {
		f.Add([]byte(s))
	}
	var s server
	known := names(flags(&s))
	f.Fuzz(func(t *testing.T, b []byte) {
		settings, err := parse("f.yaml", b, known, func(s string) string { return s })
		for name, s := range settings {
			if err != nil || s.values == nil || !strings.Contains(s.origin, name) {
				t.Errorf("%s: %+v, %v", name, s, err)
			}
		}
	})
}
