#!/usr/bin/env bash
# All in one: train on Cityscapes, then evaluate the last checkpoint.
#   ./run_local.sh CITYSCAPES [more flags of train.py]
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: $0 CITYSCAPES [more flags of train.py]" >&2
  exit 2
fi
path=$1
shift
out=./snapshots/cityscapes
scripts/train_cityscapes.sh --data-dir "$path" --snapshot-dir $out "$@"
. scripts/ranks.sh
last=$(ls -v $out/CS_scenes_*.npz 2>/dev/null | tail -n 1 || true)
ranks python evaluate.py --data-dir "$path" --dataset cityscapes --restore-from "${last:-$out/CS_scenes_60000.npz}" \
  --save-dir $out
