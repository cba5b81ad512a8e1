#!/usr/bin/env bash
# CCNet with VAN-large on Cityscapes. Published: 80.4 by a Jittor port that leaves road out of its mean: not comparable.
# Its line: --optimizer sgd --learning-rate 1e-2 --weight-decay 1e-4 --power 0.9 --warmup-steps 0 --head-lr-factor 1
# Four GPUs of 32 GB (the port). Starts from ./dataset/van_large.pth, writes into ./snapshots/cityscapes_van.
#   scripts/recipes/train_cityscapes_van.sh --data-dir CITYSCAPES [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${VAN[@]}" --dataset cityscapes --random-scale --input-size 512 --batch-size 8 --num-steps 60000 \
  --eval-input-size 512 --snapshot-dir ./snapshots/cityscapes_van "$@"
