#!/usr/bin/env bash
# CCNet with OHEM on Cityscapes. Published: 78.67, 80.00, 79.83 mIoU on val, three runs (official README, single scale).
# Four GPUs of 12 GB. Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/cityscapes. The official
# --ohem-keep 100000 counts on each of four GPUs; here it counts over the whole batch, so 400000, on any number of GPUs.
#   scripts/recipes/train_cityscapes.sh --data-dir CITYSCAPES [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" "${SLIDE[@]}" --ohem 1 --ohem-thres 0.7 --ohem-keep 400000 \
  --snapshot-dir ./snapshots/cityscapes "$@"
