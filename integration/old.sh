#!/usr/bin/env bash
# Builds the four binaries of an earlier release out of this repository's own
# history, into a folder: old.sh COMMIT FOLDER.
set -euo pipefail
commit=$1
root=$(git rev-parse --show-toplevel)
out=$(realpath -m "$2")
if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
	echo "the previous release, commit $commit, is not in this clone: the tests of upgrades build it from the history; run git fetch --unshallow, or clone without --depth" >&2
	exit 1
fi
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git -C "$root" archive "$commit" | tar -x -C "$tree"
mkdir -p "$out"
cd "$tree"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/weft-net/weft/proto/note.Version=${commit:0:7}" -o "$out/" ./cmd/...
touch "$out"/* # newer than what make compares them with
