#!/usr/bin/env bash
# CCNet on CamVid from Cityscapes weights, clips of 5 frames. Published: 79.1 mIoU (TPAMI paper, T = 5), settings not
# stated: crop, batch and steps are ours; the labelled frames are 1 s apart, in val 1/15 s. About 60 GB in one process,
# 16 GB on each of four. Starts from ./snapshots/cityscapes/best.npz as train_camvid_cityscapes.sh does, or from the
# official file with --restore-from FILE; writes into ./snapshots/camvid_clip. Usage: --data-dir CAMVID [flags of train.py]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" --dataset camvid --restore-from ./snapshots/cityscapes/best.npz --input-size 360,480 --frames 5 \
  --num-steps 10000 --learning-rate 1e-3 --eval-every 1000 --snapshot-dir ./snapshots/camvid_clip "$@"
