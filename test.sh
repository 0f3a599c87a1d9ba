#!/usr/bin/env bash
# Installs what the tests need and is missing (Debian, apt), and runs all of
# them. What it installs: redis-server and rabbitmq-server, which the tests start
# privately; Ruby, Python and Node.js with npm, with their clients for both, for the
# examples; curl; Prometheus and foreman, which the tests of promrpc and examples/shop
# start; systemd, which checks a unit of the docs; a C compiler for the race detector.
# FAULTS=all makes the faults that take long, too: see internal/faulttest.
set -euo pipefail
cd "$(dirname "$0")"

staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.9.0
fuzztime=${FUZZTIME:-2000x} # for each target: a count, or a time such as 10m
histories=${HISTORIES:-25000}

step() { printf '\n== %s\n' "$*"; }

missing() {
	command -v redis-server >/dev/null || echo redis-server
	[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq-server
	command -v cc >/dev/null || echo gcc libc6-dev
	command -v curl >/dev/null || echo curl
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
	command -v promtool >/dev/null && command -v prometheus >/dev/null || echo prometheus
	command -v foreman >/dev/null || echo ruby-foreman
	command -v systemd-analyze >/dev/null || echo systemd
	command -v ruby >/dev/null || echo ruby
	for library in redis bunny sinatra/base webrick; do # sinatra itself would serve
		ruby -e "require '$library'" 2>/dev/null || echo "ruby-${library%/*}"
	done
	[ -x /usr/bin/python3 ] || echo python3 # the one that Debian's libraries are for
	for library in redis pika; do
		/usr/bin/python3 -c "import $library" 2>/dev/null || echo "python3-$library"
	done
}

install() {
	local packages sudo=
	packages=$(missing | tr '\n' ' ')
	[ -n "${packages// /}" ] || return 0
	[ "$(id -u)" = 0 ] || sudo=sudo
	step "install $packages"
	$sudo apt-get update -qq
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
}

install

step gofmt
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "not formatted: $unformatted"; exit 1; }

step go vet and staticcheck
go vet ./...
go run "$staticcheck" ./...

step vet for other systems
vet_for() {
	echo "$1"
	GOOS=${1%/*} GOARCH=${1#*/} CGO_ENABLED=0 go vet "${@:2}"
}
vet_for darwin/arm64 ./...
vet_for windows/386 . ./redisconn ./amqpconn ./httpconn ./calc/... # ints of 32 bits, too

step known vulnerabilities
if curl -sfI -m 10 -o /dev/null https://vuln.go.dev/index/modules.json.gz; then
	go run "$govulncheck" ./...
else
	echo "skipped: the database at vuln.go.dev can't be reached"
fi

step tests
go test -race -count=1 -parallel=3 -timeout=30m ./redisconn ./... # the one that takes longest begins first

step the simulation of at least once, "$histories" histories
GOGC=2000 go test -count=1 -timeout=20m ./redisconn/internal/hold/sim -run 'TestHistories$' -histories "$histories"

step tests with the next encoding/json
GOEXPERIMENT=jsonv2 go test -count=1 -run='Params|Strict|Transcript|Decode|Encode|Reply|Batch|Meta|Fuzz|Spec' . ./internal/spectest

step the modules beside this one
check() {
	cd "$1"
	go vet ./... && go run "$staticcheck" ./... && go test -race -count=1 ./...
}
export -f check
export staticcheck
printf '%s\n' cmd/jsonrpc2 openrpc examples/shop otelrpc promrpc examples/natsconn examples/hooks |
	xargs -P 2 -I {} bash -euc 'check {}'

step the demo
demo=$(go run ./calc/cmd/calc)
echo "$demo"
grep -qF '1 + 5.1 = 6.1' <<<"$demo"

step benchmarks
(cd benchmarks && go vet ./... && go test -race -count=1 ./... && go run . -quick -rows "vs (stdlib gob|best loop|powerman)")
go test -run='^$' -bench=. -benchtime=1000x .

step fuzzing, "$fuzztime" each
for folder in $(go list -f '{{.Dir}}' ./...); do
	for target in $(cat "$folder"/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[[:alnum:]]*\)(.*/\1/p'); do
		go test -run='^$' -fuzz="^$target\$" -fuzztime="$fuzztime" "$folder"
	done
done

step all passed
