#!/usr/bin/env bash
# CCNet on ADE20K with the command line of a Jittor port, 8 x 60000, void as a class. Published: 43.51, which is not
# comparable: its evaluation leaves out class 0 and 1500 of the 2000 images, its network has 12 blocks in stage 3.
# Four GPUs of 32 GB (the port). Starts from ./dataset/resnet101-imagenet.pth, writes into ./snapshots/ade20k_8x60k.
# Usage: --data-dir ADEChallengeData2016 [flags of train.py, which override those below]
set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/settings.sh"
train "${OFFICIAL[@]}" --model ccnet_large --dataset ade20k --num-classes 151 --input-size 512 --save-pred-every 2000 \
  --eval-every 10000 --eval-input-size 512 --snapshot-dir ./snapshots/ade20k_8x60k "$@"
