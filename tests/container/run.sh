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
fails() { ! "$@" 2>/dev/null; }
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
answer=$(curl -sS --max-time 30 -F "file=@$work/picture.png" "$url/predict?top_k=3")
check "it classifies a picture" has "$answer" '"predictions":[{"label":"'

# Six by six with a vertical edge in the middle: the example every course on convolution begins with.
edge='[[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0],[10,10,10,0,0,0]]'
answer=$(curl -sS --max-time 30 --json "{\"image\":$edge,\"filter\":[[1,0,-1],[1,0,-1],[1,0,-1]]}" "$url/convolve")
found='[0,30,30,0]'
check "it finds the edge of the 6×6 example" has "${answer//.0/}" "\"output\":[$found,$found,$found,$found]"

contract() { # ARGUMENTS of pytest; the last line says how many passed
    TEST_URL=$url .venv/bin/python -m pytest -o addopts=--import-mode=importlib -p no:cacheprovider -q "$@" >"$work/contract" ||
        { tail -40 "$work/contract"; return 1; }
    tail -1 "$work/contract"
}
answer=$(curl -sS --max-time 30 "$url/metrics")
check "it counts what it answers" has "$answer" 'stride_requests_total{method="POST",route="/predict",status="200"} 1.0'
check "it knows which models it serves" has "$(curl -sS --max-time 30 "$url/models")" '"sha256":"'
answer=$(curl -sS --max-time 30 -o /dev/null -w '%{http_code}' -H "X-Long: $(printf '%40000s' | tr ' ' a)" "$url/filters")
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
check "its root is read-only" fails inside touch /app/file
check "its models are read-only" fails inside touch /app/models/file
check "it can write to /tmp" inside touch /tmp/file
check "training, tests and installers are not in it" inside python -c '
from importlib.util import find_spec
found = [name for name in ("training", "tests", "pytest", "torchvision", "pip") if find_spec(name)]
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

# A second or more of arithmetic, stopped in the middle: whoever was accepted is answered.
awk 'BEGIN {
    row = "[1"; for (i = 1; i < 1000; i++) row = row ",1"; row = row "]"
    line = "[2"; for (i = 1; i < 41; i++) line = line ",2"; line = line "]"
    printf "{\"image\":[%s", row; for (i = 1; i < 1000; i++) printf ",%s", row
    printf "],\"filter\":[%s", line; for (i = 1; i < 41; i++) printf ",%s", line
    print "]}"
}' >"$work/slow.json"
curl -sS --max-time 60 -o /dev/null -w '%{http_code}' --json "@$work/slow.json" "$url/convolve" >"$work/code" &
request=$!
# To the container itself: the engine's own proxy takes connections that nobody is behind any more.
load 500 "http://$(state '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'):8000" &
sleep 0.5
SECONDS=0
docker compose stop >/dev/null 2>&1
stopped_s=$SECONDS
wait $request
wait
check "stopped while it works, it answers first" same "$(cat "$work/code")" 200
check "and exits with 0" same "$(state '{{.State.ExitCode}}')" 0
# 7, 28: nobody is there any more. Anything else without a status is an answer that was owed: 52, 56.
answered=$(grep -c '^200 0$' "$work/codes")
check "of the load too, whoever got in is answered ($answered)" same "$(grep -vE '^(200|503) 0$|^000 (7|28)$' "$work/codes" | sort | uniq -c)" ""
check "in less than the grace period" test "$stopped_s" -lt 40
echo "stopped in $stopped_s s"
