#!/usr/bin/env bash
# Runs vet and every test of the modules named, with the race detector. A skipped
# test is a failure: the machine that make deps prepared can run all of them.
set -uo pipefail
root=$(git rev-parse --show-toplevel)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
for module in "$@"; do
	cd "$root/$module" || exit 1
	[ -n "$(go list ./... 2>/dev/null)" ] || continue
	echo "== module $module"
	go vet ./... || failed=1
	go test -race -timeout 30m -v ./... >"$log" 2>&1 || failed=1
	grep -aE '^(ok|FAIL|panic:|---? FAIL|=== FAIL)|^\s+--- FAIL|DATA RACE' "$log" || true
	if grep -aqE '^FAIL|^panic:' "$log"; then
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
