#!/usr/bin/env bash
# CCNet on ADE20K, ResNet-101, 16 x 80000. Published: 43.97 mIoU on val, single scale, 45.13 with scales and flip
# (mmsegmentation, 12.2 GB on each of four GPUs); a Jittor port with like settings has 41.72 (42.80).
# Starts from ./dataset/resnet101_v1c-e67eebb6.pth, writes into ./snapshots/ade20k.
#   scripts/recipes/train_ade20k.sh --data-dir ADEChallengeData2016 [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${MMSEG[@]}" --dataset ade20k --num-steps 80000 --snapshot-dir ./snapshots/ade20k "$@"
