#!/usr/bin/env bash
# Tests and benchmarks that need a GPU, in parts; their output is also written to runs/gpu/ (or $OUT).
#
#   scripts/benchmark/test_gpu.sh prepare tests            # prepare CUDA and Jittor; the tests that need a GPU, without slow ones
#   scripts/benchmark/test_gpu.sh curves sanitizer         # a training run compared with the CPU; compute-sanitizer on the operator
#   scripts/benchmark/test_gpu.sh attention compiled modules step      # the benchmark tables
#   CAMVID=../camvid MINUTES=8 scripts/benchmark/test_gpu.sh train     # train ccnet_r50 and VAN for 8 minutes each
#
# PYTHON is the interpreter of the environment (default: python). A part that fails does not stop the others; the exit
# code is the number of failed parts. LIMIT is the time limit of a part in seconds (default: 540).
set -uo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python}
OUT=${OUT:-runs/gpu}
LIMIT=${LIMIT:-540}
MINUTES=${MINUTES:-8}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1
failed=0

part() { # part NAME COMMAND..: run it with the time limit, log its output, print its exit code
  local name=$1 code began=$SECONDS
  shift
  echo "== $name: $*"
  timeout "$LIMIT" "$@" 2>&1 | tee "$OUT/$name.log"
  code=${PIPESTATUS[0]}
  echo "== $name: exit code $code after $((SECONDS - began)) s"
  [ "$code" = 0 ] || failed=$((failed + 1))
}

ON_GPU=(env CCNET_TEST_DEVICE=cuda OMP_NUM_THREADS=4) # an array, not a function: timeout runs only programs

OPERATOR=tests/models/cca/test_cuda.py
NETWORKS="tests/models tests/utils/weights"
for what in "$@"; do
  case $what in
    prepare)
      part machine bash -c 'nvidia-smi; command -v nvcc && nvcc --version; g++ --version | head -1; df -h . | tail -1'
      part prepare "$PYTHON" scripts/prepare_jittor.py --device cuda
      ;;
    tests)
      part operator "${ON_GPU[@]}" "$PYTHON" -m pytest -q $OPERATOR -m cuda
      part cuda "${ON_GPU[@]}" "$PYTHON" -m pytest -q tests/test_gpu.py -m "not slow"
      part networks "${ON_GPU[@]}" "$PYTHON" -m pytest -q $NETWORKS -m "not slow"
      ;;
    curves) part curves "${ON_GPU[@]}" "$PYTHON" -m pytest -q -s tests/test_gpu.py -m slow ;;
    sanitizer) # run it after `tests`, so that operators are compiled already
      for tool in memcheck racecheck; do
        part "$tool" "${ON_GPU[@]}" compute-sanitizer --tool $tool --error-exitcode 9 \
          "$PYTHON" -m pytest -q -x $OPERATOR tests/test_gpu.py -m cuda -k "card or transposes or depthwise"
      done
      ;;
    attention)
      part attention "$PYTHON" scripts/benchmark/cca_gpu.py --only fused torch-eager torch-sdpa --json "$OUT/attention.json"
      ;;
    compiled) part compiled "$PYTHON" scripts/benchmark/cca_gpu.py --rounds 1 --only fused torch-eager torch-compile ;;
    modules) part modules "$PYTHON" scripts/benchmark/cca_gpu.py --modules --sizes 97,97 --batch 1 --dtypes float32 ;;
    step) part step "$PYTHON" scripts/benchmark/step_gpu.py ;;
    train)
      for model in ccnet_r50 van; do
        part "train_$model" timeout --preserve-status --signal=INT "$((60 * MINUTES))" "$PYTHON" train.py --device cuda --dataset camvid \
          --data-dir "${CAMVID:?the folder of CamVid}" --model $model --input-size 360,480 --batch-size 8 \
          --random-mirror --random-scale --num-steps 4000 --eval-every 500 --save-pred-every 500 --amp bfloat16 \
          --snapshot-dir "$OUT/$model" --resume auto
      done
      ;;
    *)
      echo "unknown part $what; choose from prepare tests curves sanitizer attention compiled modules step train" >&2
      exit 64
      ;;
  esac
done
exit $failed
