#!/usr/bin/env bash
# CCNet (R = 2) with OHEM on Cityscapes, the settings of the official README: 78.7 to 80.0 mIoU on four GPUs of 12 GB.
#   scripts/recipes/train_cityscapes.sh --data-dir CITYSCAPES [flags of train.py, which override those below]
# Without OHEM (78.4 to 79.7): --ohem 0. The official --ohem-keep 100000 is for each of four GPUs; here --ohem-keep is for
# the batch of all ranks, so four times as much.
# Starts from ./dataset/resnet101-imagenet.pth (published by MIT; if it is missing, the run prints its address). Writes
# into ./snapshots/cityscapes. --restore-from "" starts from random weights. Paths are relative to the current folder.
# The variables GPUS, HOSTFILE, MPIRUN and VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet --recurrence 2 --dataset cityscapes \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 769,769 \
  --batch-size 8 --num-steps 60000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4 \
  --ohem 1 --ohem-thres 0.7 --ohem-keep 400000 \
  --save-pred-every 1000 --keep-last 3 --eval-every 10000 --snapshot-dir ./snapshots/cityscapes "$@"
