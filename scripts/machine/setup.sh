# Sourced by demo.sh, test.sh and coverage.sh: finds a Python, makes the virtual environment, installs packages, prepares
# Jittor. A second run installs nothing. VENV is the folder of the environment (default: .venv; Jittor has one cache for
# each), PYTHON the interpreter, WHEELS a folder of wheels (default: wheels); with wheels in it, pip asks no package index.
# The caller sets LOG, the file that receives all output.

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
VENV=${VENV:-.venv}
mkdir -p "$(dirname "$LOG")"
: >"$LOG"
trap 'code=$?; [ $code = 0 ] || echo "$0 stopped (exit code $code). The log: $PWD/$LOG" >&2' EXIT

logged() { # run a command; its output goes to the terminal and to the log
  "$@" 2> >(tee -a "$LOG" >&2) | tee -a "$LOG"
}

is_supported() { # is this a Python for which Jittor exists, with the headers to compile extensions?
  "$1" -c 'import os, sys, sysconfig
ok = (3, 9) <= sys.version_info[:2] <= (3, 14)
sys.exit(not (ok and os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h"))))' 2>/dev/null
}

find_python() {
  if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"; return; fi
  local name
  for name in python3 python3.12 python3.13 python3.14 python3.11 python3.10 python3.9; do
    if is_supported "$name"; then echo "$name"; return; fi
  done
  echo python3 # none is supported: the checks report what is wrong with this one
}

fail() {
  echo "$*" | tee -a "$LOG" >&2
  exit 1
}

make_environment() { # venv needs ensurepip, a separate package on Debian; without it the system's pip installs pip
  echo "Making the environment $VENV with $("$1" -V)"
  "$1" -m venv "$VENV" >>"$LOG" 2>&1 && return
  rm -rf "$VENV"
  { "$1" -m venv --without-pip "$VENV" && "$1" -m pip --python "$VENV/bin/python" install -q pip; } >>"$LOG" 2>&1 ||
    fail "No virtual environment could be made with $1. Fix: sudo apt-get install python3-venv, or set PYTHON to another Python."
}

writable_home() { # building the wheel of Jittor writes into the home folder: if that fails, use a folder in $VENV
  if mkdir -p "$HOME/.cache" 2>/dev/null && [ -w "$HOME/.cache" ]; then echo "$HOME"; return; fi
  mkdir -p "$VENV/jittor_home"
  (cd "$VENV/jittor_home" && pwd)
}

use_wheels() { # pip installs from the folder alone, and does not try the network for minutes
  local folder=${WHEELS:-wheels}
  compgen -G "$folder/*.whl" >/dev/null || return 0
  folder=$(cd "$folder" && pwd)
  export PIP_FIND_LINKS="file://${folder// /%20}" PIP_NO_INDEX=1 # pip takes a space for the end of the name
  echo "Installing from the wheels in $folder alone"
}

setup() { # setup REQUIREMENTS_FILE
  local python stamp
  use_wheels
  if [ ! -x "$VENV/bin/python" ]; then
    python=$(find_python)
    "$python" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 14))' 2>>"$LOG" || fail \
      "$("$python" -V 2>&1 || true): Jittor 1.3.11 was tried with Python 3.9 to 3.14.
Fix: install one of these and set PYTHON, for example PYTHON=python3.12 $0 (conda, uv and pyenv need no root)."
    make_environment "$python"
  fi
  stamp="$VENV/installed-$1.sum"
  if ! cat requirements*.txt | cksum | cmp -s - "$stamp"; then
    echo "Installing $1"
    HOME=$(writable_home) "$VENV/bin/python" -m pip install --disable-pip-version-check -q -r "$1" >>"$LOG" 2>&1 || {
      tail -n 12 "$LOG" >&2
      [ -z "${PIP_NO_INDEX:-}" ] || fail "Installing $1 failed. The folder of wheels must hold all of it: see \
scripts/machine/README.md, Machines without a network."
      fail "Installing $1 failed. The first installation needs a network connection to the Python package index, or a \
folder of wheels: see scripts/machine/README.md, Machines without a network."
    }
    cat requirements*.txt | cksum >"$stamp"
  fi
  logged "$VENV/bin/python" scripts/prepare_jittor.py
  PATH="$(cd "$VENV/bin" && pwd):$PATH"
  export PATH
}
