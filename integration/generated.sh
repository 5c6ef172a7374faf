#!/usr/bin/env bash
# Fails if `make generate` would change the committed code.
set -euo pipefail
cd "$(git rev-parse --show-toplevel)"
before=$(cat proto/weft/v1/*.pb.go | sha256sum)
bin/buf generate
after=$(cat proto/weft/v1/*.pb.go | sha256sum)
[ "$before" = "$after" ] || { echo "proto/weft/v1/*.pb.go was not current: commit what make generate wrote"; exit 1; }
