#!/usr/bin/env bash
# A small CCNet on CamVid (367 pictures of 480x360, 11 classes): under an hour on two CPU cores, from random weights.
#   scripts/recipes/train_camvid.sh --data-dir CAMVID [more flags of train.py; a later one overrides]
# --model van --van-size van_tiny takes 30 minutes; evaluate it with --input-size 160,224, the size it was trained at.
# On a GPU, as large as it gets: --model ccnet --input-size 360,480 --batch-size 8 --restore-from a checkpoint of Cityscapes.
# Starts from random weights, writes into ./snapshots/camvid. Paths are relative to the current folder.
# GPUS, HOSTFILE, MPIRUN, VENV: see scripts/recipes/ranks.sh.
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
train --model ccnet_r18 --recurrence 2 --dataset camvid --random-mirror --random-scale \
  --input-size 160,224 --batch-size 4 --num-steps 2400 --optimizer adamw --learning-rate 1e-3 --weight-decay 1e-2 \
  --warmup-steps 100 --save-pred-every 200 --keep-last 2 --eval-every 600 --snapshot-dir ./snapshots/camvid "$@"
