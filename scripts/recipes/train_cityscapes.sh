#!/usr/bin/env bash
# CCNet, R = 2, with OHEM on Cityscapes, the settings of the official README; four GPUs of 12 GB there, 78.7 to 80.0 mIoU.
#   scripts/recipes/train_cityscapes.sh --data-dir CITYSCAPES [more flags of train.py; a later one overrides]
# Without OHEM (78.4 to 79.7): --ohem 0. The official code counts --ohem-keep 100000 on each of four GPUs; here it is one
# number for the batch of all, so four times that.
# Starts from ./dataset/resnet101-imagenet.pth (MIT's; without it, the run prints where it is published), writes into
# ./snapshots/cityscapes. --restore-from "" starts from random weights. Paths are relative to the current folder.
# GPUS, HOSTFILE, MPIRUN, VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet --recurrence 2 --dataset cityscapes \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 769,769 \
  --batch-size 8 --num-steps 60000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4 \
  --ohem 1 --ohem-thres 0.7 --ohem-keep 400000 \
  --save-pred-every 1000 --keep-last 3 --eval-every 10000 --snapshot-dir ./snapshots/cityscapes "$@"
