package tailscale

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseAuth(t *testing.T) {
	for in, want := range map[string]string{
		"name=tailscale,joinKey=tskey-auth-abc":                                  "key tskey-auth-abc",
		"name=tailscale":                                                         "",
		" name=tailscale,joinKey=k \n":                                           "key k",
		"joinKey=k,name=tailscale":                                               "key k",
		"name=tailscale,joinKey=tskey-client-x?ephemeral=false&preauth=yes":      "key tskey-client-x?ephemeral=false&preauth=yes",
		"name=tailscale,joinKey=aGVsbG8==":                                       "key aGVsbG8==",
		"name=tailscale,joinKey=k,controlServerURL=https://hs.example.org":       "key k, at https://hs.example.org",
		"name=tailscale,controlServerURL=https://h/?a=b":                         "at https://h/?a=b",
		"name=tailscale,joinKeyFile=/etc/weft/tskey":                             "key in /etc/weft/tskey",
		"name=tailscale,joinKey=k,extraArgs=--advertise-tags=tag:a,tag:b":        "key k, --advertise-tags=tag:a,tag:b",
		"name=tailscale,extraArgs=--hostname n7 --ssh":                           "--hostname=n7, --ssh",
		"extraArgs=--ssh,name=tailscale":                                         "error: name is missing; the provider of this release is tailscale",
		"name=tailscale,extraArgs=--accept-routes --ssh":                         "--ssh",
		"name=tailscale,extraArgs=--advertise-routes=192.168.1.0/24,fd00:1::/64": "also 192.168.1.0/24,fd00:1::/64",

		"":                                                           "error: is empty; " + form,
		"tailscale":                                                  "error: does not begin with NAME=VALUE; " + form,
		"name=,joinKey=k":                                            "error: name is missing; the provider of this release is tailscale",
		"joinKey=k":                                                  "error: name is missing; the provider of this release is tailscale",
		"name=zerotier":                                              `error: name "zerotier" is no provider of this release; accepted: tailscale`,
		"name=tailscale;joinKey=tskey-x":                             "error: what follows name= is no provider of this release; accepted: tailscale",
		"name=tailscale,joinKey=--help":                              "error: joinKey begins with -, as a flag does",
		"name=tailscale,name=x":                                      "error: name is there twice",
		"name=tailscale,colour=red":                                  "error: colour is not known; " + form + "; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)",
		"name=tailscale,joinKey=se,cret":                             "error: what follows the comma after joinKey is no NAME=VALUE; " + form + "; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)",
		"name=tailscale,joinKey=se,cret=":                            "error: the name that follows the comma after joinKey is not known; " + form + "; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)",
		"name=tailscale,":                                            "error: what follows the comma after name is no NAME=VALUE; " + form + "; a value that holds a comma goes into a file in the structured form (--vpn-auth-file)",
		"name=tailscale,joinKey=a b":                                 "error: joinKey holds a space or a character that no key has",
		"name=tailscale,joinKey=file:/x":                             "error: joinKey begins with file:; name the file with joinKeyFile",
		"name=tailscale,joinKey=k,joinKeyFile=/x":                    "error: joinKey and joinKeyFile are both given; keep the file",
		"name=tailscale,controlServerURL=hs.example.org":             "error: controlServerURL is no URL of a control server, such as https://headscale.example.org",
		"name=tailscale,controlServerURL=https://u:p@h":              "error: controlServerURL holds a user; a control server knows a node by its key",
		`name=tailscale,extraArgs=--hostname="n 7"`:                  "error: extraArgs: quotes and backslashes mean nothing here; a value that holds a space goes into a file in the structured form (--vpn-auth-file)",
		"name=tailscale,extraArgs=hostname=n7":                       "error: extraArgs: word 1 is no flag of tailscale up; write --NAME or --NAME=VALUE",
		"name=tailscale,extraArgs=--reset":                           "error: extraArgs: --reset is not passed on: it would wipe what else this node is set to",
		"name=tailscale,extraArgs=--auth-key=k":                      "error: extraArgs: --auth-key is not passed on: write joinKey or joinKeyFile",
		"name=tailscale,extraArgs=--login-server https://h":          "error: extraArgs: --login-server is not passed on: write controlServerURL",
		"name=tailscale,extraArgs=--ssh --ssh":                       "error: extraArgs: --ssh is there twice",
		"name=tailscale,extraArgs=--accept-routes=false":             "error: extraArgs: --accept-routes=false would cut this node off: pods of others are reached by routes that it accepts; leave it out",
		"name=tailscale,extraArgs=--advertise-routes=192.168.1.1/24": "error: extraArgs: --advertise-routes: 192.168.1.1/24 has host bits; did you mean 192.168.1.0/24",
		"name=tailscale,extraArgs=--advertise-routes=0.0.0.0/0":      "error: extraArgs: --advertise-routes: 0.0.0.0/0 makes the node an exit; write --advertise-exit-node",
		"name=tailscale,extraArgs=--advertise-routes=lan":            `error: extraArgs: --advertise-routes: "lan" is no prefix, such as 192.168.1.0/24`,
	} {
		if got := written1(ParseAuth(in)); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestParseFile(t *testing.T) {
	for in, want := range map[string]string{
		"name=tailscale,joinKey=k\n":           "key k",
		"name: tailscale\njoinKey: se,c=ret\n": "key se,c=ret",
		`{"name": "tailscale", "joinKey": "k", "extraArgs": ["--hostname=n7", "--advertise-tags", "tag:a"]}`: "key k, --hostname=n7, --advertise-tags=tag:a",
		"# K3s's\nname: tailscale\njoinKeyFile: /x\ncontrolServerURL: https://h:8080\nextraArgs:\n- --ssh\n": "key in /x, at https://h:8080, --ssh",
		"name: tailscale\njoinKey:\n": "",

		"":                                        "error: is empty; " + form,
		"name: tailscale\ncolour: red\n":          "error: line 2: a field that is not known; accepted: name, joinKey, joinKeyFile, controlServerURL, extraArgs",
		"name: tailscale\nname: tailscale\n":      "error: line 2: name is there twice",
		"name: tailscale\njoinKey: [secret]\n":    "error: line 2: joinKey is no text",
		"name: tailscale\nextraArgs: --ssh\n":     "error: line 2: extraArgs is no list; write one flag a line, as - --hostname=n7",
		"name: tailscale\n---\nname: tailscale\n": "error: holds more than one document; keep one",
		"name: tailscale\n\tjoinKey: secret\n":    "error: is neither K3s's form nor YAML",
		"- name: tailscale\n":                     "error: is no mapping; write name: tailscale, and joinKey: KEY or joinKeyFile: FILE",
		strings.Repeat("#", maxAuth+1):            "error: more than 16384 bytes",
	} {
		if got := written1(ParseFile([]byte(in))); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

// written1 is what was read, in one line.
func written1(a Auth, err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	var out []string
	if a.JoinKey != "" {
		out = append(out, "key "+a.JoinKey.Reveal())
	}
	if a.KeyFile != "" {
		out = append(out, "key in "+a.KeyFile)
	}
	if a.ControlURL != "" {
		out = append(out, "at "+a.ControlURL)
	}
	out = append(out, a.Args...)
	if len(a.Routes) > 0 {
		out = append(out, "also "+list(a.Routes))
	}
	return strings.Join(out, ", ")
}

// FuzzAuth: no input is read as something that would not be passed on, and no key
// appears in an error or in what prints.
func FuzzAuth(f *testing.F) {
	f.Add("name=tailscale,joinKey=SECRETSECRET,extraArgs=--ssh")
	f.Add("name=tailscale,joinKey=SECRET,SECRET=,=")
	f.Add("name: tailscale\njoinKey: SECRETSECRET\nextraArgs: [--hostname, n7]")
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Auth, error){ParseAuth, func(s string) (Auth, error) { return ParseFile([]byte(s)) }} {
			a, err := parse(s)
			if err != nil {
				continue
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", a, a, a), "SECRETSECRET") && !strings.Contains(strings.Join(a.Args, " ")+a.ControlURL+a.KeyFile, "SECRET") {
				t.Fatalf("prints its key: %v", a)
			}
			for _, arg := range a.Args {
				if name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "="); refused[name] != "" || !strings.HasPrefix(arg, "--") || name == "advertise-routes" {
					t.Fatalf("passes %q on", arg)
				}
			}
			for _, r := range a.Routes {
				if r != r.Masked() || r.Bits() == 0 {
					t.Fatalf("advertises %v", r)
				}
			}
		}
	})
}
