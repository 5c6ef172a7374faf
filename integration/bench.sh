#!/usr/bin/env bash
# Measures the figures of the README on this machine. ONLY=join,heal picks rows;
# ONLY=scale, of AGENTS=100,1000,5000 agents, needs an hour and is run by name only,
# ONLY=hostfaults some minutes, ONLY=tunnel ten (RUNS=3 rounds); ONLY=mesh all rows of
# paths between nodes, ONLY=moves,fallback,pairs,userspace,peers,blackhole some, ONLY=relay the last.
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
# faults of the host: what each took until weft status named it, and until it was
# gone there once what status says to type had been typed.
hostfaults() {
	local out
	out=$(mktemp)
	(cd .. && WEFT_FAULTS=$out go test . -count=1 -parallel 1 -run 'TestScenarios/hostfaults-')
	sort -t$'\t' -k1,1 -k2,2nr "$out" | awk -F'\t' '{ printf "%-5s %5.2f s  %.100s\n", $1, $2, $3; if ($2 > most[$1]) most[$1] = $2; n[$1]++ }
		END { for (w in most) printf "%s: slowest of %d: %.1f s\n", w, n[w], most[w] }'
	rm -f "$out"
}
# tunnel beside TLS, yamux, remotedialer and Konnectivity: tunnel/README.md.
tunnel() {
	(cd tunnel && go build -o ../bin/tunnel .)
	bin/tunnel ${RUNS:+-runs "$RUNS"} ${CONTENDERS:+-contenders "$CONTENDERS"} ${ROWS:+-rows "$ROWS"}
}
# relay: what is left of wireguard-go's throughput over a server: mesh/relay/doc.go.
relay() {
	go build -o bin/relay ./mesh/relay
	bin/relay ${RUNS:+-runs "$RUNS"}
}
# paths between nodes: mesh/doc.go.
mesh() {
	go build -o bin/mesh ./mesh
	go build -o bin/wireguard-go golang.zx2c4.com/wireguard
	bin/mesh -bin ../../bin ${1:+-only "$1"} ${RUNS:+-runs "$RUNS"}
}
case "${ONLY:-}" in
mesh)
	mesh && relay
	exit
	;;
moves* | fallback* | pairs* | userspace* | peers* | blackhole*)
	mesh "$ONLY"
	exit
	;;
scale | hostfaults | tunnel | relay)
	"$ONLY"
	exit
	;;
esac
go build -o bin/fabric ./fabric
(cd ../oracle/flannel && go build -o ../../../bin/flannel .)
bin/fabric -bin ../../bin ${ONLY:+-only "$ONLY"} ${RUNS:+-runs "$RUNS"}
if [ -z "${ONLY:-}" ] && [ -d cni ]; then
	go run ./cni -bin ../../bin
fi
