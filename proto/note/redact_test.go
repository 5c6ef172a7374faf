package note

import "testing"

func TestRedact(t *testing.T) {
	const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for in, want := range map[string]string{
		"token weft1." + hash + ".abcdefghij.abcdefghijklmnopqrstuvwxyz234567 is no name": "token weft1." + hash + ".abcdefghij.(secret) is no name",
		"a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb":         "a\n(secret)\nb",
		"-----BEGIN PRIVATE KEY-----\nMHcC":                                               "(secret)",
		"K10" + hash + "::server:abc":                                                     "K10" + hash + "::(secret)",
		"https://ops:hunter2@etcd:2379/x":                                                 "https://ops:(secret)@etcd:2379/x",
		"https://etcd:2379/x":                                                             "https://etcd:2379/x",
		"node n1.example.com":                                                             "node n1.example.com",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}
