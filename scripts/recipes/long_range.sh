#!/usr/bin/env bash
# A task that needs attention: the class of a region is the colour of a beacon that lies farther away than the network
# sees without attention (datasets/scenes/beacons.py, models/shallow.py). Trains R = 0, 1, 2 and non-local attention with
# three seeds on generated images, then prints a table and draws curves and attention maps. Five minutes on one CPU core.
#   scripts/recipes/long_range.sh [flags of train.py, which override those below]
# SEEDS: default "1 2 3". OUT: folder of the runs, the table and the figure (default: ./snapshots/long_range). TABLE: flags
# of long_range.py. A second call continues.
set -euo pipefail
GPUS=1
. "$(dirname "$(readlink -f "$0")")/ranks.sh"
OUT=${OUT:-./snapshots/long_range}
for seed in ${SEEDS:-1 2 3}; do
  for network in r0 r1 r2 non_local; do
    case $network in
      non_local) model=(--model ccnet_shallow_non_local --recurrence 1) ;;
      *) model=(--model ccnet_shallow --recurrence "${network#r}") ;;
    esac
    train "${model[@]}" --dataset beacons --input-size 65,65 --batch-size 16 --num-steps 250 --aux-weight 0 \
      --optimizer adamw --learning-rate 3e-3 --gamma-lr-factor 20 --weight-decay 1e-2 --warmup-steps 30 \
      --eval-every 25 --eval-images 60 --print-frequency 125 --save-every-minutes 0 --resume auto \
      --snapshot-dir "$OUT/${network}_s$seed" --seed "$seed" "$@"
  done
done
python "$ROOT/scripts/recipes/long_range.py" "$OUT" ${TABLE:-}
