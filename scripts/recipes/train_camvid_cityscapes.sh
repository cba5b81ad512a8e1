#!/usr/bin/env bash
# CCNet on CamVid from Cityscapes weights, one frame. Published: 77.9 mIoU (TPAMI paper, T = 1), settings not
# stated: crop, batch and steps are ours. About 14 GB in one process. Starts from ./snapshots/cityscapes/best.npz, of
# train_cityscapes.sh, or from the official file with --restore-from FILE; writes into ./snapshots/camvid_cityscapes.
# Usage: --data-dir CAMVID [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" --dataset camvid --restore-from ./snapshots/cityscapes/best.npz --input-size 360,480 \
  --num-steps 10000 --learning-rate 1e-3 --eval-every 1000 --snapshot-dir ./snapshots/camvid_cityscapes "$@"
