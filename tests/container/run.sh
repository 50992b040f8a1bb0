#!/usr/bin/env bash
# Build the image, run it with compose, use it as clients would, look inside, and stop it under load.
# WHEELS=folder builds from a torch wheel that lies there (pip's PIP_FIND_LINKS, where that is a folder).
# CONTRACT=0 leaves out the contract's tests, which take a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() { echo "skipped: $*"; exit 0; }
command -v docker >/dev/null || skip "docker is not installed"
docker info >/dev/null 2>&1 || skip "no container engine answers docker"
docker compose version >/dev/null 2>&1 || skip "docker has no compose"
command -v curl >/dev/null || skip "curl is not installed"

export COMPOSE_PROJECT_NAME=stride-test-$$ PORT=0 # any free port
# As it is in the repository, whatever is set for a deployment of one's own here.
export COMPOSE_FILE=docker-compose.yml COMPOSE_ENV_FILES=/dev/null COMPOSE_PROFILES=
unset "${!STRIDE_@}"
export MEMORY=2g CPUS=1 # fewer than the machine has, to see that threads follow
[ -n "${WHEELS:-}" ] || [ ! -d "${PIP_FIND_LINKS:-}" ] || WHEELS=$PIP_FIND_LINKS
export WHEELS=${WHEELS:-}
work=$(mktemp -d)
finish() {
    status=$?
    [ $status = 0 ] || docker compose logs --tail 15 || true
    docker compose down --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$work"
    [ $status = 0 ] && echo "$passed passed, 0 failed" || echo "failed: ${checking:-preparing}"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM # else what was interrupted would end as passed

passed=0
check() { # SENTENCE COMMAND...
    checking=$1
    shift
    "$@"
    passed=$((passed + 1))
    echo "ok: $checking"
}
same() { [ "$1" = "$2" ] || { echo "got '$1', expected '$2'" >&2; return 1; }; }
has() { [[ $1 == *"$2"* ]] || { echo "'$2' is not in: ${1:0:500}" >&2; return 1; }; }
inside() { docker compose exec -T stride "$@"; }
ask() { curl -sS --max-time 30 "$@" || true; } # what came, if anything: the check of it says what is wrong
logged() { docker compose logs stride 2>/dev/null | grep -c 'POST /predict ' || true; } # requests that it began
state() { docker inspect "$container" --format "$1"; }

echo "building (the first time takes minutes: torch)"
SECONDS=0
docker compose --progress quiet build stride
echo "built in $SECONDS s: $(docker image inspect stride --format '{{.Size}}' | awk '{printf "%d MB", $1 / 1e6}')"
docker run --rm --interactive --entrypoint python stride - <deploy/breakdown.py
SECONDS=0
check "it becomes healthy" docker compose --progress quiet up --detach --wait --wait-timeout 120
echo "healthy $SECONDS s after up"
container=$(docker compose ps --quiet stride)
url=http://$(docker compose port stride 8000 | sed 's/^0\.0\.0\.0/127.0.0.1/')

# A photograph where scikit-image is installed, else a drawing by the Pillow in the image.
photograph=$(.venv/bin/python -c 'import pathlib, skimage; print(pathlib.Path(skimage.__file__).parent / "data/chelsea.png")' 2>/dev/null || true)
if [ -f "$photograph" ]; then
    cp "$photograph" "$work/picture.png"
else
    inside python -c 'import sys; from PIL import Image; Image.radial_gradient("L").convert("RGB").save(sys.stdout.buffer, "PNG")' >"$work/picture.png"
fi
answer=$(ask -F "file=@$work/picture.png" "$url/predict?top_k=3")
check "it classifies a picture" has "$answer" '"predictions":[{"label":"'

# Six by six with a vertical edge in the middle: the example every course on convolution begins with.
edge='[[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0]]'
answer=$(ask -H 'Content-Type: application/json' -d "{\"image\":$edge,\"filter\":[[1,0,-1],[1,0,-1],[1,0,-1]]}" "$url/convolve")
found='[0,30,30,0]'
check "it finds the edge of the 6×6 example" has "${answer//.0/}" "\"output\":[$found,$found,$found,$found]"

contract() { # ARGUMENTS of pytest; the last line says how many passed
    TEST_URL=$url .venv/bin/python -m pytest -o addopts=--import-mode=importlib -p no:cacheprovider -q "$@" >"$work/contract" ||
        { tail -40 "$work/contract"; return 1; }
    tail -1 "$work/contract"
}
answer=$(ask "$url/metrics")
check "it counts what it answers" has "$answer" 'stride_requests_total{method="POST",route="/predict",status="200"} 1.0'
check "it knows which models it serves" has "$(ask "$url/models")" '"sha256":"'
answer=$(ask -o /dev/null -w '%{http_code}' -H "X-Long: $(printf '%40000s' | tr ' ' a)" "$url/filters")
check "it refuses a head that is too large" same "$answer" 431

if .venv/bin/python -c 'import pytest' 2>/dev/null; then
    check "the README's commands work as written" contract tests/test_readme.py
    [ "${CONTRACT:-1}" = 0 ] || check "it keeps the contract" contract tests/service
else
    echo "left out: the README's commands and the contract's tests (make setup)"
fi

check "it runs as an ordinary user" same "$(inside python -c 'import os; print(os.getuid() != 0, os.getgid() != 0)')" "True True"
check "it has no capabilities" has "$(inside cat /proc/self/status)" $'CapBnd:\t0000000000000000'
check "it gains no privileges" has "$(inside cat /proc/1/status)" $'NoNewPrivs:\t1'
# By what the refusal says: an ordinary user may write to neither anyway.
check "its root is read-only" has "$(inside touch /app/file 2>&1)" "Read-only file system"
check "its models are read-only" has "$(inside touch /app/models/file 2>&1)" "Read-only file system"
check "it can write to /tmp" inside touch /tmp/file
check "training, tests, compilers and Python's installers are not in it" inside python -c '
import glob, shutil
from importlib.util import find_spec
modules = ("training", "tests", "pytest", "torchvision", "pip", "ensurepip", "setuptools")
found = [name for name in modules if find_spec(name)]
found += [name for name in ("pip", "gcc", "cc", "c++", "clang", "ld", "make") if shutil.which(name)]
found += glob.glob("/usr/local/lib/python3.*/site-packages/*")
raise SystemExit(f"found {found}" if found else 0)'
check "its memory, processors and processes are limited" same \
    "$(state '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}')" "$((2 << 30)) ${CPUS}000000000 256"
check "its threads follow the limit on processors" same \
    "$(inside python -c 'from service.settings import load_settings; print(load_settings().thread_count)')" "$CPUS"

# COUNT requests, 16 at a time: each one's status, and curl's exit status where it got no answer at all.
load() { # COUNT URL
    seq "$1" | xargs -P 16 -I '{}' curl -s --connect-timeout 1 --max-time 60 -o /dev/null \
        -w '%{http_code} %{exitcode}\n' -F "file=@$work/picture.png" "$2/predict" >"$work/codes" || true
}
load 400 "$url"
check "it answers every request of a load" same "$(sort "$work/codes" | uniq -c | xargs)" "400 200 0"
used=$(docker stats --no-stream --format '{{.MemPerc}}' "$container")
check "with memory to spare ($used of 2 GiB)" test "${used%%.*}" -lt 75

# Two megabytes sent in five seconds, stopped at the beginning: whoever was accepted is answered.
awk 'BEGIN {
    row = "[1"; for (i = 1; i < 1000; i++) row = row ",1"; row = row "]"
    line = "[2"; for (i = 1; i < 41; i++) line = line ",2"; line = line "]"
    printf "{\"image\":[%s", row; for (i = 1; i < 1000; i++) printf ",%s", row
    printf "],\"filter\":[%s", line; for (i = 1; i < 41; i++) printf ",%s", line
    print "]}"
}' >"$work/slow.json"
curl -sS --max-time 60 --limit-rate 400k -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' \
    -d "@$work/slow.json" "$url/convolve" >"$work/code" &
# To the container itself: the engine's own proxy takes connections that nobody is behind any more.
address=http://$(state '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'):8000
before=$(logged)
if curl -sf --max-time 2 -o /dev/null "$address/health/live"; then
    load 500 "$address" &
else
    address= # Docker Desktop and rootless engines: containers are not on this machine's network
fi
sleep 0.5
SECONDS=0
docker compose stop >/dev/null 2>&1
stopped_s=$SECONDS
wait
check "it is stopped while it works" test "$stopped_s" -ge 3 # longer than it listens after the signal
check "and answers first" same "$(cat "$work/code")" 200
check "and exits with 0" same "$(state '{{.State.ExitCode}}')" 0
if [ -n "$address" ]; then
    # By its log, since a connection that the system had, but not yet the service, is reset when the door closes.
    answered=$(grep -c ' 0$' "$work/codes" || true)
    check "it answers on for a moment" test "$answered" -gt 0
    check "of the load too, whoever got in is answered ($answered)" same "$(($(logged) - before))" "$answered"
else
    echo "left out: a load while it stops (its address is not reached from here)"
fi
check "in less than the grace period" test "$stopped_s" -lt 40
echo "stopped in $stopped_s s"
