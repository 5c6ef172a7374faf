#!/usr/bin/env bash
# Runs vet and every test of the modules named, with the race detector. A skipped
# test is a failure: the machine that make deps prepared can run all of them.
# Packages below integration are run one after the other: each of them keeps a machine
# busy (fabrics of many processes, a machine that is emulated), and two at once would
# measure each other's patience.
set -uo pipefail
root=$(git rev-parse --show-toplevel)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# short prints of each test that failed, or has one that did below it, the last thing
# that it complained of and what led to it. Lines of tests that run at once are told
# apart by go test's === lines.
short() {
	awk '
	/^=== (RUN|CONT|NAME|PAUSE) / { name = $3; next }
	/^ *--- (PASS|SKIP): / { delete said[$3]; next }
	/^ *--- FAIL: / {
		print $0
		n = split(said[$3], line, "\n"); last = 0
		for (i = 1; i < n; i++) if (line[i] ~ /FAIL: testdata|panic:|DATA RACE|_test\.go:[0-9]+:/) last = i
		if (!last) last = n - 1
		for (i = (last > 20 ? last - 20 : 1); i <= last + 10 && i < n; i++) print substr(line[i], 1, 300)
		delete said[$3]; next
	}
	name != "" { said[name] = said[name] $0 "\n" }'
}

for module in "$@"; do
	cd "$root/$module" || exit 1
	packages=$(go list ./... 2>/dev/null)
	[ -n "$packages" ] || continue
	echo "== module $module"
	go vet ./... || failed=1
	: >"$log"
	heavy=$(grep /integration <<<"$packages")
	light=$(grep -v /integration <<<"$packages")
	# shellcheck disable=SC2086 # they are lists
	for run in "${light:+$light}" "${heavy:+-p=1 $heavy}"; do
		[ -z "$run" ] || go test -race -timeout 30m -v $run >>"$log" 2>&1 || failed=1
	done
	grep -aE '^(ok|FAIL|panic:|---? FAIL|=== FAIL)|^\s+--- FAIL|DATA RACE' "$log" || true
	if grep -aqE '^FAIL|^panic:' "$log"; then
		echo "== what failed, in short"
		short <"$log"
		echo "== the output of what failed"
		# All that a test and its subtests said; a subtest's name has a slash.
		awk '/^=== RUN +[^\/]*$/{buf=""} {buf=buf $0 "\n"} /^ *--- FAIL/{printf "%s", buf; buf=""} /^panic:/{p=1} p' "$log" | tail -n 1000
	fi
	if grep -aE '^ *--- SKIP' "$log"; then
		echo "the tests above were skipped, which counts as failure: each says what it missed (go test -v)"
		grep -a -A3 -E '^ *--- SKIP' "$log" | head -40
		failed=1
	fi
	ran=$(grep -acE '^--- PASS' "$log")
	echo "module $module: $ran tests passed, $(grep -acE '^--- FAIL' "$log") failed"
	total=$((${total:-0} + ran)) bad=$((${bad:-0} + $(grep -acE '^--- FAIL' "$log")))
done
echo "${total:-0} passed, ${bad:-0} failed"
exit $failed
