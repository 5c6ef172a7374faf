#!/usr/bin/env bash
# Measures the figures of the README on this machine. ONLY=join,heal picks rows.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)/integration/bench"
go build -o bin/fabric ./fabric
(cd ../oracle/flannel && go build -o ../../../bin/flannel .)
bin/fabric -bin ../../bin ${ONLY:+-only "$ONLY"} ${RUNS:+-runs "$RUNS"}
if [ -z "${ONLY:-}" ] && [ -d cni ]; then
	go run ./cni -bin ../../bin
fi
