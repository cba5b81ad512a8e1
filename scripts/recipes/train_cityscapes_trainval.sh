#!/usr/bin/env bash
# CCNet for the Cityscapes test server. Published: 81.4 mIoU on test (ICCV), 81.9 (TPAMI): train and val, 100000 steps,
# OHEM, then --frozen-bn with a low rate; several scales and flip (the authors, issue 15). Four GPUs of 12 GB. Starts
# from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/cityscapes_trainval. No validation: val is trained on.
# Upload: evaluate.py --split test --export cityscapes --scales 0.75,1,1.25 --flip. Usage: --data-dir CITYSCAPES [flags]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" --split trainval --num-steps 100000 --ohem 1 --ohem-thres 0.7 --ohem-keep 400000 \
  --eval-input-size 769,769 --snapshot-dir ./snapshots/cityscapes_trainval "$@"
