#!/usr/bin/env bash
# CCNet on LIP, crops of 473. Published: 55.47 mIoU on val (TPAMI paper), for the attention inside CE2P, which has an
# edge branch that is not here; so this is the plain network with the official optimizer, and batch and steps are ours.
# Four GPUs of 12 GB. Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/lip.
# Usage: --data-dir LIP [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" --dataset lip --input-size 473 --batch-size 16 --num-steps 110000 --eval-every 10000 \
  --eval-short-side 473 --snapshot-dir ./snapshots/lip "$@"
