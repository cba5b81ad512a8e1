#!/usr/bin/env bash
# CCNet on COCO-Stuff (164k, 171 classes), 16 x 80000, a schedule of mmsegmentation for other networks. Published for
# CCNet: nothing (the COCO results of the paper are of instance segmentation). 12 GB on each of four GPUs, as ADE20K.
# Starts from ./dataset/resnet101_v1c-e67eebb6.pth, writes into ./snapshots/coco_stuff.
# Usage: --data-dir COCO [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${MMSEG[@]}" --dataset coco_stuff --num-steps 80000 --snapshot-dir ./snapshots/coco_stuff "$@"
