#!/usr/bin/env bash
# CCNet on PASCAL VOC 2012 with the extra masks (10582 images; scripts/data/prepare_voc_aug.py), the settings of
# mmsegmentation: crop 512, 40000 steps, batch 16 (it reports 77.87 mIoU with ResNet-101).
#   scripts/recipes/train_voc.sh --data-dir VOCdevkit [flags of train.py, which override those below]
# Starts from ./dataset/resnet101-imagenet.pth (published by MIT; if it is missing, the run prints its address). Writes
# into ./snapshots/voc. --restore-from "" starts from random weights. Paths are relative to the current folder.
# The variables GPUS, HOSTFILE, MPIRUN and VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet --recurrence 2 --dataset voc --split trainaug \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 512 \
  --batch-size 16 --num-steps 40000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 5e-4 \
  --save-pred-every 2000 --keep-last 3 --eval-every 10000 --snapshot-dir ./snapshots/voc "$@"
