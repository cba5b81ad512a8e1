#!/usr/bin/env bash
# CCNet, one pass of attention, on Cityscapes. Published: 77.31, 77.91, 76.89 mIoU on val, three runs (official page).
# Four GPUs of 12 GB. Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/cityscapes_r1.
# All other settings are those of train_cityscapes_r2.sh.
# Usage: --data-dir CITYSCAPES [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" "${SLIDE[@]}" --recurrence 1 --snapshot-dir ./snapshots/cityscapes_r1 "$@"
