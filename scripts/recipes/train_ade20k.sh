#!/usr/bin/env bash
# CCNet on ADE20K with the settings of the Jittor reproduction (crop 512, 60000 steps, batch 8; it reports 43.5 mIoU).
#   scripts/recipes/train_ade20k.sh --data-dir ADEChallengeData2016 [flags of train.py, which override those below]
# That command has --num-classes 151, with void as a class; the default here is the 150 classes of the benchmark.
# Starts from ./dataset/resnet101-imagenet.pth (published by MIT; if it is missing, the run prints its address). Writes
# into ./snapshots/ade20k. --restore-from "" starts from random weights. Paths are relative to the current folder.
# The variables GPUS, HOSTFILE, MPIRUN and VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet_large --recurrence 2 --dataset ade20k \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 512 \
  --batch-size 8 --num-steps 60000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4 \
  --save-pred-every 2000 --keep-last 3 --eval-every 20000 --snapshot-dir ./snapshots/ade20k "$@"
