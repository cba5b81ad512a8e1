#!/usr/bin/env bash
# CCNet on VOC 2012 with the extra masks (trainaug of scripts/data/prepare_voc_aug.py), ResNet-101, 16 x 40000.
# Published: 77.87 mIoU on val, single scale, 78.90 with scales and flip (mmsegmentation, 9.5 GB on each of four GPUs).
# Starts from ./dataset/resnet101_v1c-e67eebb6.pth, writes into ./snapshots/voc.
#   scripts/recipes/train_voc.sh --data-dir VOCdevkit [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${MMSEG[@]}" --dataset voc --split trainaug --num-steps 40000 --snapshot-dir ./snapshots/voc "$@"
