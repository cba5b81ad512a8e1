#!/usr/bin/env bash
# Makes the environment, prepares Jittor, and runs the whole test suite (ruff and clang-format are among the tests).
# Arguments go to pytest:  scripts/test.sh -m "not slow"      scripts/test.sh tests/datasets/scenes/test_scenes.py -x
# Two workers run the test files and share the operators that Jittor compiles. One process: -n 0
set -euo pipefail
LOG=runs/test.log
. "$(dirname "$(readlink -f "$0")")/machine/setup.sh"
setup requirements-dev.txt
export OMP_NUM_THREADS=1 # two workers with several spinning threads on two cores would be slower
logged python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations 30 "$@"
