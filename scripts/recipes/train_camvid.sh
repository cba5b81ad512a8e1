#!/usr/bin/env bash
# A small CCNet on CamVid (367 images of 480x360, 11 classes): less than an hour on two CPU cores, from random weights.
#   scripts/recipes/train_camvid.sh --data-dir CAMVID [flags of train.py, which override those below]
# --model van --van-size van_tiny takes 30 minutes; evaluate it with --input-size 160,224, the crop of the training.
# For the best result, on a GPU: --model ccnet --input-size 360,480 --batch-size 8 --restore-from CITYSCAPES_CHECKPOINT.
# Starts from random weights. Writes into ./snapshots/camvid. Paths are relative to the current folder.
# The variables GPUS, HOSTFILE, MPIRUN and VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet_r18 --recurrence 2 --dataset camvid --random-mirror --random-scale \
  --input-size 160,224 --batch-size 4 --num-steps 2400 --optimizer adamw --learning-rate 1e-3 --weight-decay 1e-2 \
  --warmup-steps 100 --save-pred-every 200 --keep-last 2 --eval-every 600 --snapshot-dir ./snapshots/camvid "$@"
