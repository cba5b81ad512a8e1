#!/usr/bin/env bash
# Tests and benchmarks that need a GPU, in parts of at most five minutes, the most important first.
#
#   scripts/benchmark/test_gpu.sh                          # prepare smoke attention step tests curves train
#   scripts/benchmark/test_gpu.sh step sanitizer           # these parts; also: sanitizer compiled modules count
#   scripts/benchmark/test_gpu.sh --again smoke            # also what is finished
#
# Output appears at once and is written to runs/gpu/ (or $OUT). A piece that has finished there is skipped, so the same
# command continues after an interruption. A piece that fails does not stop the others; the exit code is their number.
# PYTHON is the interpreter of the environment (default: python), LIMIT the time limit of a piece in seconds (default:
# 290), PRECISIONS the dtypes of the tables (default: "float16 bfloat16 float32"; a V100 has no bfloat16), CAMVID the
# folder of CamVid for `train` (default: none, generated scenes) and MINUTES its time for each network (default: 4).
set -uo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python}
OUT=${OUT:-runs/gpu}
LIMIT=${LIMIT:-290}
MINUTES=${MINUTES:-4}
PRECISIONS=${PRECISIONS:-float16 bfloat16 float32}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1
failed=0 again=0
parts=()
for word in "$@"; do
  if [ "$word" = --again ]; then again=1; else parts+=("$word"); fi
done
[ ${#parts[@]} -gt 0 ] || parts=(prepare smoke attention step tests curves train)

part() { # part NAME COMMAND..: run it with the time limit, log its output, print its exit code
  local name=$1 code began=$SECONDS
  shift
  if [ $again = 0 ] && [ -e "$OUT/$name.done" ]; then
    echo "== $name: finished before, see $OUT/$name.log (--again repeats it)"
    return
  fi
  rm -f "$OUT/$name.done"
  echo "== $name: $*"
  timeout "$LIMIT" "$@" 2>&1 | tee "$OUT/$name.log"
  code=${PIPESTATUS[0]}
  echo "== $name: exit code $code after $((SECONDS - began)) s"
  if [ "$code" = 0 ]; then touch "$OUT/$name.done"; else failed=$((failed + 1)); fi
}

ON_GPU=(env CCNET_TEST_DEVICE=cuda OMP_NUM_THREADS=4) # an array, not a function: timeout runs only programs

OPERATOR=tests/models/cca/test_cuda.py
DATA=(--dataset scenes)
[ -z "${CAMVID:-}" ] || DATA=(--dataset camvid --data-dir "$CAMVID")
for what in "${parts[@]}"; do
  case $what in
    prepare)
      part machine bash -c 'nvidia-smi; command -v nvcc && nvcc --version; g++ --version | head -1; df -h . | tail -1'
      part prepare "$PYTHON" scripts/prepare_jittor.py --device cuda
      ;;
    smoke)
      for dtype in float32 float16 bfloat16; do
        part "smoke_$dtype" "$PYTHON" scripts/benchmark/gpu_smoke.py --precision $dtype
      done
      ;;
    attention)
      for dtype in $PRECISIONS; do
        part "attention_$dtype" "$PYTHON" scripts/benchmark/cca_gpu.py --only fused torch-eager torch-sdpa \
          --dtypes "$dtype" --rounds 1 --json "$OUT/attention_$dtype.json"
      done
      ;;
    step)
      for dtype in $PRECISIONS; do
        for framework in jittor torch; do
          part "step_${dtype}_$framework" "$PYTHON" scripts/benchmark/step_gpu.py --precision "$dtype" --only $framework
        done
      done
      ;;
    tests)
      part operator "${ON_GPU[@]}" "$PYTHON" -m pytest -q $OPERATOR -m cuda
      part cuda "${ON_GPU[@]}" "$PYTHON" -m pytest -q tests/test_gpu.py -m "not slow"
      part layers "${ON_GPU[@]}" "$PYTHON" -m pytest -q tests/models/layers -m "not slow"
      part networks "${ON_GPU[@]}" "$PYTHON" -m pytest -q tests/models --ignore tests/models/layers --ignore $OPERATOR -m "not slow"
      part weights "${ON_GPU[@]}" "$PYTHON" -m pytest -q tests/utils/weights -m "not slow"
      ;;
    curves) part curves "${ON_GPU[@]}" "$PYTHON" -m pytest -q -s tests/test_gpu.py -m slow ;;
    train)
      for model in ccnet_r50 van; do
        part "train_$model" timeout --preserve-status --signal=INT "$((60 * MINUTES))" "$PYTHON" train.py --device cuda \
          "${DATA[@]}" --model $model --input-size 360,480 --batch-size 8 --random-mirror --random-scale \
          --num-steps 4000 --eval-every 500 --save-pred-every 500 --amp float16 --snapshot-dir "$OUT/$model" --resume auto
      done
      ;;
    sanitizer) # run it after `tests`, so that operators are compiled already
      for tool in memcheck racecheck; do
        part "$tool" "${ON_GPU[@]}" compute-sanitizer --tool $tool --error-exitcode 9 \
          "$PYTHON" -m pytest -q -x $OPERATOR tests/test_gpu.py -m cuda -k "card or transposes or depthwise"
      done
      ;;
    compiled) part compiled "$PYTHON" scripts/benchmark/cca_gpu.py --rounds 1 --only fused torch-eager torch-compile ;;
    modules) part modules "$PYTHON" scripts/benchmark/cca_gpu.py --modules --sizes 97,97 --batch 1 --dtypes float32 ;;
    count) part count "$PYTHON" scripts/benchmark/step_gpu.py --count ;;
    *)
      echo "unknown part $what; choose from prepare smoke attention step tests curves train sanitizer compiled modules count" >&2
      exit 64
      ;;
  esac
done
exit $failed
