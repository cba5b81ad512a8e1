#!/usr/bin/env bash
# CCNet with the category consistent loss on Cityscapes. Published: 80.5 mIoU on val (TPAMI paper, without code).
# Four GPUs of 12 GB. Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/cityscapes_ccl.
# Weights of the loss are those of the paper; it reports that 9 of 10 runs with this form of the loss succeed.
# Usage: --data-dir CITYSCAPES [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" "${SLIDE[@]}" --ccl 1 --snapshot-dir ./snapshots/cityscapes_ccl "$@"
