#!/usr/bin/env bash
# CCNet with VAN-large on ADE20K, 16 x 160000 as VAN with UPerNet (50.6 with several scales). Published for CCNet: 44.83
# by a Jittor port, not comparable (see train_ade20k_8x60k.sh). Its line: --optimizer sgd --learning-rate 1e-2
# --weight-decay 1e-4 --power 0.9 --warmup-steps 0 --head-lr-factor 1 --batch-size 8 --num-steps 60000. Four 32 GB GPUs.
# Starts from ./dataset/van_large.pth, writes into ./snapshots/ade20k_van. Usage: --data-dir ADEChallengeData2016 ...
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${VAN[@]}" --dataset ade20k --short-side 512 --long-side 2048 --scale-range 0.5,2 --cat-max-ratio 0.75 \
  --color-jitter --input-size 512 --batch-size 16 --num-steps 160000 --eval-short-side 512 \
  --snapshot-dir ./snapshots/ade20k_van "$@"
