#!/usr/bin/env bash
# Measures the figures of the README on this machine. ONLY=join,heal picks rows;
# ONLY=scale, of AGENTS=100,1000,5000 agents, needs an hour and is run by name only.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)/integration/bench"
scale() {
	(cd scale && go build -o ../bin/scale .)
	rm -f scale/figures.csv
	bin/scale -bin ../../bin -agents "${AGENTS:-100,1000,5000}" -csv scale/figures.csv
	bin/scale -bin ../../bin -agents "${AGENTS:-100,1000,5000}" -etcd external -csv scale/figures.csv
	bin/scale -bin ../../bin -agents "${AGENTS:-100,1000,5000}" -etcd external -servers 3 -csv scale/figures.csv
	bin/scale plot scale/figures.csv scale/curves.svg
}
if [ "${ONLY:-}" = scale ]; then
	scale
	exit
fi
go build -o bin/fabric ./fabric
(cd ../oracle/flannel && go build -o ../../../bin/flannel .)
bin/fabric -bin ../../bin ${ONLY:+-only "$ONLY"} ${RUNS:+-runs "$RUNS"}
if [ -z "${ONLY:-}" ] && [ -d cni ]; then
	go run ./cni -bin ../../bin
fi
