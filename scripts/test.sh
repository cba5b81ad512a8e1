#!/usr/bin/env bash
# The whole test suite, from nothing: environment, Jittor, then pytest (ruff and clang-format are among the tests).
# Arguments go to pytest:  scripts/test.sh -m "not slow"      scripts/test.sh tests/datasets/scenes/test_scenes.py -x
# Two workers run it, each file by one of them; they share the operators that Jittor compiles. One process: -n 0
set -euo pipefail
LOG=runs/test.log
. "$(dirname "$(readlink -f "$0")")/machine/setup.sh"
setup requirements-dev.txt
export OMP_NUM_THREADS=1 # two busy threads that spin on two cores are slower than one
logged python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 30 "$@"
