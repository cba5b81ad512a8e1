#!/usr/bin/env bash
# CCNet with VAN-large on Cityscapes, the settings of the Jittor reproduction (it reports 80.4 mIoU).
#   scripts/recipes/train_cityscapes_van.sh --data-dir CITYSCAPES [flags of train.py, which override those below]
# The settings that the authors of VAN use for segmentation:
#   ... --optimizer adamw --learning-rate 6e-5 --weight-decay 0.01 --power 1 --warmup-steps 1500 --head-lr-factor 10
# Starts from ./dataset/van_large.pth (if it is missing, the run prints its address). Writes into
# ./snapshots/cityscapes_van. --restore-from "" starts from random weights. Paths are relative to the current folder.
# The variables GPUS, HOSTFILE, MPIRUN and VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model van --van-size van_large --recurrence 2 --dataset cityscapes \
  --restore-from ./dataset/van_large.pth --random-mirror --random-scale --input-size 512 \
  --batch-size 8 --num-steps 60000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4 \
  --save-pred-every 2000 --keep-last 3 --eval-every 10000 --snapshot-dir ./snapshots/cityscapes_van "$@"
