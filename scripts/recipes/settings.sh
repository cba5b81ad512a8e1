# Sourced by the recipes: what several of them share. The flags of a recipe's caller, "$@", come last and override it.
# ./dataset and ./snapshots are relative to the current folder. GPUS, HOSTFILE, MPIRUN and VENV: see ranks.sh.
#
# Files to start from, in ./dataset; if one is missing, the run prints where it is published. --restore-from "" starts
# from random weights. No publisher states a SHA-256; _v1c files have the first 8 digits of theirs in their names.
#   resnet101-imagenet.pth        ResNet-101, deep stem, 180 MB; http://sceneparsing.csail.mit.edu/model/pretrained_resnet
#   resnet101_v1c-e67eebb6.pth    ResNet-101, v1c stem, 180 MB; https://download.openmmlab.com/pretrain/third_party
#   van_large.pth                 van_large_839.pth.tar, 180 MB; https://huggingface.co/Visual-Attention-Network
. "$(dirname "${BASH_SOURCE[0]}")/ranks.sh"

# The official README: 8 crops of 769 on four GPUs of 12 GB. SLIDE: validation as by the official evaluate.py.
OFFICIAL=(
  --model ccnet --recurrence 2 --dataset cityscapes --restore-from ./dataset/resnet101-imagenet.pth
  --random-mirror --random-scale --input-size 769,769 --batch-size 8 --num-steps 60000
  --learning-rate 1e-2 --momentum 0.9 --power 0.9 --weight-decay 1e-4
  --save-pred-every 1000 --keep-last 3
)
SLIDE=(--eval-every 10000 --eval-input-size 769,769)

# mmsegmentation, crops of 512: 16 on four GPUs, short side 512 times 0.5 to 2; validation with short side 512.
MMSEG=(
  --model ccnet_mmseg_r101 --recurrence 2 --restore-from ./dataset/resnet101_v1c-e67eebb6.pth
  --random-mirror --short-side 512 --long-side 2048 --scale-range 0.5,2 --cat-max-ratio 0.75 --color-jitter
  --input-size 512 --batch-size 16
  --learning-rate 1e-2 --min-learning-rate 1e-4 --momentum 0.9 --power 0.9 --weight-decay 5e-4
  --save-pred-every 2000 --keep-last 3 --eval-every 10000 --eval-short-side 512
)

# VAN as its authors train it for segmentation: AdamW, no decay on norms and biases, drop path of the size (0.3 for
# van_large), heads and squeeze at ten times the rate.
VAN=(
  --model van --van-size van_large --recurrence 2 --restore-from ./dataset/van_large.pth
  --optimizer adamw --learning-rate 6e-5 --weight-decay 0.01 --power 1 --warmup-steps 1500 --head-lr-factor 10
  --random-mirror --save-pred-every 2000 --keep-last 3 --eval-every 10000
)
