#!/usr/bin/env bash
# Tries each supported Python on PATH (or the ones given) in an empty home and a fresh environment: prepares Jittor,
# trains 60 steps on drawn scenes, and runs the tests that are not slow. Prints a table; logs go to runs/matrix.
#   scripts/machine/matrix.sh                          # python3.9 to python3.14, as far as they are on PATH
#   scripts/machine/matrix.sh python3.13 /opt/bin/python3.14
# cc_path=/usr/bin/g++-11 chooses the compiler; MATRIX_TESTS= (empty) skips the tests, or names their files.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
[ $# -gt 0 ] || set -- python3.9 python3.10 python3.11 python3.12 python3.13 python3.14
tests=${MATRIX_TESTS-tests}
mkdir -p runs/matrix
failed=0

version_of() { # version_of PYTHON MODULE
  "$1" -c "import $2; print($2.__version__)" 2>/dev/null || echo -
}

try() { # try PYTHON FOLDER: the demo with 60 steps, then the tests
  export HOME="$2/home" VENV="$2/venv" PYTHON="$1" JITTOR_HOME= LOG=runs/matrix/setup.log
  mkdir -p "$HOME"
  bash -ec '. scripts/machine/setup.sh; setup requirements-dev.txt
    python train.py --model ccnet_r18 --dataset scenes --input-size 96,128 --batch-size 4 --num-steps 60 \
      --optimizer adamw --learning-rate 1e-3 --snapshot-dir "$1"
    [ -z "$2" ] || python -m pytest -q -n 2 --dist loadfile -m "not slow" $2' matrix "$2/run" "$tests"
}

echo "| Python | NumPy | OpenCV | compiler | minutes | result |"
echo "|---|---|---|---|---|---|"
compiler=$("${cc_path:-g++}" -dumpfullversion)
for name; do
  python=$(command -v "$name") && full=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue
  folder=$(mktemp -d)
  began=$SECONDS
  result=passed
  (try "$python" "$folder") >"runs/matrix/$full.log" 2>&1 </dev/null || { result="failed: runs/matrix/$full.log"; failed=1; }
  installed="$folder/venv/bin/python"
  minutes=$(((SECONDS - began + 30) / 60))
  echo "| $full | $(version_of "$installed" numpy) | $(version_of "$installed" cv2) | g++ $compiler | $minutes | $result |"
  rm -rf "$folder"
done
exit $failed
