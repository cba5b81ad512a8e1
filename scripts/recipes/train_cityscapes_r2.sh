#!/usr/bin/env bash
# CCNet, two passes of attention, on Cityscapes. Published: 79.74, 79.22, 78.40 mIoU on val, three runs (official page).
# Four GPUs of 12 GB. Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/cityscapes_r2.
# The 79.74 model has 79.01 on test, as whole images: evaluate.py --whole. No attention, --recurrence 0: 75.1 (paper).
# Usage: --data-dir CITYSCAPES [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" "${SLIDE[@]}" --snapshot-dir ./snapshots/cityscapes_r2 "$@"
