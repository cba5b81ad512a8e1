#!/usr/bin/env bash
# Tries each supported Python on PATH (or the ones given) in an empty home and a fresh environment: prepares Jittor,
# trains 60 steps on drawn scenes, runs the tests that are not slow, and undoes the repairs. Prints a table; logs go to
# runs/matrix.
#   scripts/machine/matrix.sh                          # python3.9 to python3.14, as far as they are on PATH
#   scripts/machine/matrix.sh python3.13 /opt/bin/python3.14
# cc_path=/usr/bin/g++-11 chooses the compiler; MATRIX_TESTS= (empty) skips the tests, or names their files.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit
given=$#
[ $given -gt 0 ] || set -- python3.9 python3.10 python3.11 python3.12 python3.13 python3.14
tests=${MATRIX_TESTS-tests}
compiler=$("${cc_path:-g++}" -dumpfullversion) || exit 1
mkdir -p runs/matrix
failed=0 tried=0
trap 'rm -rf "${folder:-}"' EXIT

version_of() { # version_of PYTHON MODULE
  "$1" -c "import $2; print($2.__version__)" 2>/dev/null || echo -
}

try() { # try PYTHON FOLDER: the demo with 60 steps, the tests, and back to Jittor as published
  export HOME="$2/home" VENV="$2/venv" PYTHON="$1" LOG=runs/matrix/setup.log
  unset JITTOR_HOME
  mkdir -p "$HOME"
  bash -euo pipefail -c '. scripts/machine/setup.sh; setup requirements-dev.txt
    echo "Prepared after $SECONDS s"
    python train.py --model ccnet_r18 --dataset scenes --input-size 96,128 --batch-size 4 --num-steps 60 \
      --optimizer adamw --learning-rate 1e-3 --snapshot-dir "$1"
    echo "Trained after $SECONDS s"
    [ -z "$2" ] || OMP_NUM_THREADS=1 python -m pytest -q -n 2 --dist loadgroup -m "not slow" $2
    python scripts/prepare_jittor.py --undo' matrix "$2/run" "$tests"
}

row() { # row PYTHON NUMPY OPENCV MINUTES RESULT
  echo "| $1 | $2 | $3 | g++ $compiler | $4 | $5 |"
}

echo "| Python | NumPy | OpenCV | compiler | minutes | result |"
echo "|---|---|---|---|---|---|"
for name; do
  if ! full=$("$name" -c 'import platform; print(platform.python_version())' 2>/dev/null); then
    [ $given = 0 ] || failed=1
    if [ $given -gt 0 ] || command -v "$name" >/dev/null; then row "$name" - - - "does not start"; fi
    continue
  fi
  python=$("$name" -c 'import sys; print(sys.executable)') # not a shim that looks into the home folder
  folder=$(mktemp -d)
  began=$SECONDS
  result=passed
  tried=$((tried + 1))
  (try "$python" "$folder") >"runs/matrix/$full.log" 2>&1 </dev/null || { result="failed: runs/matrix/$full.log"; failed=1; }
  installed="$folder/venv/bin/python"
  minutes=$(((SECONDS - began + 30) / 60))
  row "$full" "$(version_of "$installed" numpy)" "$(version_of "$installed" cv2)" "$minutes" "$result"
  rm -rf "$folder"
done
[ $tried -gt 0 ] || { echo "matrix.sh: none of these starts: $*" >&2; exit 1; }
exit $failed
