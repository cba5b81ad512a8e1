#!/usr/bin/env bash
# Lists the lines of the project that no test executes: the test suite under coverage.py, with subprocesses and ranks.
# Arguments go to pytest:  scripts/coverage.sh      scripts/coverage.sh tests/test_train.py
# The list is printed and written to runs/coverage/missing.txt. Not measured: processes that end by SIGKILL, and those of
# a Python without coverage.py. The files of the tests are not listed.
set -euo pipefail
LOG=runs/coverage.log
. "$(dirname "$(readlink -f "$0")")/machine/setup.sh"
setup requirements-dev.txt
out=$PWD/runs/coverage
temporary=$(mktemp -d) # pytest's folder: copies of the project in it (.../clone) count as the project
trap 'code=$?; rm -rf "$temporary"; [ $code = 0 ] || echo "$0 stopped (exit code $code). The log: $PWD/$LOG" >&2' EXIT
rm -rf "$out"
mkdir -p "$out"
cat >"$out/run.ini" <<END
[run]
data_file = $out/data
parallel = true
source =
  $PWD
  $temporary
patch =
  subprocess
  _exit
disable_warnings = no-data-collected,module-not-measured,module-not-imported,already-imported
END
cat >"$out/report.ini" <<END
[run]
data_file = $out/data
source = $PWD
omit = # the tests, and the configuration of OpenCV, which runs under a file name without a folder
  $PWD/config*.py
  $PWD/tests/*
  $PWD/runs/*
  $PWD/.venv*/*
[paths]
project =
  $PWD
  */clone
[report]
exclude_lines =
show_missing = true
skip_covered = true
ignore_errors = true
END
export OMP_NUM_THREADS=1
export PYTHONPATH=$PWD/tests/support/coverage_start${PYTHONPATH:+:$PYTHONPATH}
code=0
logged python -m coverage run --rcfile "$out/run.ini" -m pytest --basetemp "$temporary/pytest" "$@" || code=$?
unset PYTHONPATH
python -m coverage combine -q --rcfile "$out/report.ini"
python -m coverage report --rcfile "$out/report.ini" | tee "$out/missing.txt"
python -m coverage json -q --rcfile "$out/report.ini" -o "$out/missing.json"
exit $code
