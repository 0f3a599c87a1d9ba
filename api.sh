#!/usr/bin/env bash
# Shows the changes since a commit or tag that break programs which use this module:
#
#	./api.sh v0.9.0
#
# It compares the exported packages of all modules whose API is for others, as they were
# there, with those of this checkout. The status is 1 if there are such changes, and 2 if
# they can't be compared.
set -euo pipefail
cd "$(dirname "$0")"

apidiff=golang.org/x/exp/cmd/apidiff@v0.0.0-20261014143641-f0251eb4aa3e

[ $# = 1 ] || { echo "usage: ./api.sh COMMIT-OR-TAG" >&2; exit 2; }
trap 'exit 2' ERR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/base"
git archive "$1" | tar -x -C "$work/base"
GOFLAGS='' GOBIN=$work go install "$apidiff"

# modules lists the folders of the base's modules, but for those of programs and examples.
modules() {
	(cd "$work/base" && find . -name go.mod -printf '%h\n' | grep -Ev '^\./(benchmarks|cmd|examples)(/|$)' | sort)
}

# export_data writes to a file what a module exports: export_data FOLDER FILE.
export_data() {
	(cd "$1" && "$work/apidiff" -m -w "$2" "$(go list -m)")
}

# compare shows the incompatible changes from one file to another, and leaves out the lines
# that say which packages nobody outside can import.
compare() {
	"$work/apidiff" -m -incompatible "$1" "$2" 2> >(grep -v '^Ignoring internal package' >&2)
}

for module in $(modules); do
	if [ -f "$module/go.mod" ]; then
		export_data "$work/base/$module" "$work/old"
		export_data "$module" "$work/new"
		compare "$work/old" "$work/new"
	else
		echo "module $module: removed"
	fi
done >"$work/changes"

cat "$work/changes"
[ ! -s "$work/changes" ] || exit 1
