#!/usr/bin/env bash
# CCNet on PASCAL VOC 2012 with the extra masks (10582 pictures; scripts/prepare_voc_aug.py), mmsegmentation's settings:
# crop 512, 40000 steps of 16, 77.87 mIoU with ResNet-101 there.
#   scripts/train_voc.sh --data-dir VOCdevkit [more flags of train.py; a later one overrides]
set -euo pipefail
. "$(dirname "$0")/ranks.sh"
ranks python train.py --model ccnet --recurrence 2 --dataset voc --split trainaug \
  --restore-from ./dataset/resnet101-imagenet.pth --random-mirror --random-scale --input-size 512 \
  --batch-size 16 --num-steps 40000 --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 5e-4 \
  --save-pred-every 2000 --keep-last 3 --eval-every 10000 --snapshot-dir ./snapshots/voc "$@"
