package pod

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/proto/cniwire"
)

// The folder of records is replaced, while pods run, by a copy from before or by
// nothing: what they have stays theirs, and nobody else is given it. Words are verbs:
// "+c1" and "-c1", "copy", "old" (the copy comes back, and the agent starts), "none"
// (nothing comes back), "dead c1" (with its namespace), "heal", "wait" (a rest long).
func TestFolderReplaced(t *testing.T) {
	for _, row := range []struct{ name, words, want, problem string }{
		{"nothing happened since", "+c1 copy old +c2", "c1 .1, c2 .2", ""},
		{"a pod that came since", "+c1 copy +c2 old +c3", "c1 .1, c2 .2, c3 .3", "there is none"},
		{"the folder is gone", "+c1 +c2 none +c3", "c1 .1, c2 .2, c3 .3", "there is none"},
		{"it keeps its device", "+c1 none heal +c2", "c1 .1, c2 .2", "there is none"},
		{"it is deleted as any other", "+c1 none -c1 +c2", "c2 .2", ""},
		{"an address that is another's since", "+c1 copy -c1 wait +c2 +c3 +c4 +c5 +c6 +c7 old heal +c8", "c2 .2, c3 .3, c4 .4, c5 .5, c6 .6, c7 .1, c8 no", "there is none"},
		{"a pod that came anew since", "+c1 copy dead c1 -c1 +c1 old heal wait +c2", "c1 .2, c2 .1", "is of another pod than the kernel has"},
		{"one that died since", "+c1 copy dead c1 old wait wait +c2", "c2 .2", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w, dir := newWorld(), t.TempDir()
			k := w.open(t, dir)
			saved := t.TempDir()
			var told []string
			verbs := strings.Fields(row.words)
			for i, word := range verbs {
				switch name := strings.TrimLeft(word, "+-"); {
				case word[0] == '+':
					w.netns("/ns/" + name)
					got := say(k, request(cniwire.Add, name, "/ns/"+name, plainConfig))
					if a, ok := strings.CutPrefix(got, "OK 10.42.1"); ok {
						told = append(told, name+" "+strings.Fields(a)[0])
					} else {
						told = append(told, name+" no")
					}
				case word[0] == '-':
					say(k, request(cniwire.Del, name, "/ns/"+name, plainConfig))
					told = without(told, name)
				case word == "copy":
					copied(t, k.Dir, saved)
				case word == "old" || word == "none":
					if err := os.RemoveAll(k.Dir); err != nil {
						t.Fatal(err)
					}
					if word == "old" {
						copied(t, saved, k.Dir)
					}
					k = w.open(t, dir)
				case word == "dead":
					w.kill("/ns/" + verbs[i+1])
					told = without(told, verbs[i+1])
				case word == "heal":
					if err := k.Heal(context.Background()); err != nil {
						t.Error(err)
					}
				case word == "wait":
					w.pass(2 * time.Minute)
					k.Sweep(context.Background())
				}
			}
			expect(t, "told", strings.Join(told, ", "), row.want)
			if len(w.broken) > 0 {
				t.Error(w.broken)
			}
			problem := ""
			for _, p := range k.Problems() {
				problem = p.Cause
			}
			if !strings.Contains(problem, row.problem) || row.problem == "" && problem != "" {
				t.Errorf("problem %q, want %q", problem, row.problem)
			}
		})
	}
}

func without(told []string, name string) (out []string) {
	for _, s := range told {
		if !strings.HasPrefix(s, name+" ") {
			out = append(out, s)
		}
	}
	return out
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Clean(to), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
