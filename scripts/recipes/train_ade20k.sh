#!/usr/bin/env bash
# CCNet on ADE20K, the settings of the Jittor reproduction (crop 512, 60000 steps of 8; 43.5 mIoU is reported there).
#   scripts/recipes/train_ade20k.sh --data-dir ADEChallengeData2016 [more flags of train.py; a later one overrides]
# That command says --num-classes 151, void being a class of its own; the 150 classes of the benchmark are the default here.
# Starts from ./dataset/resnet101-imagenet.pth (MIT's; without it, the run prints where it is published), writes into
# ./snapshots/ade20k. --restore-from "" starts from random weights. Paths are relative to the current folder.
# GPUS, HOSTFILE, MPIRUN, VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet_large --recurrence 2 --dataset ade20k \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 512 \
  --batch-size 8 --num-steps 60000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4 \
  --save-pred-every 2000 --keep-last 3 --eval-every 20000 --snapshot-dir ./snapshots/ade20k "$@"
