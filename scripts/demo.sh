#!/usr/bin/env bash
# CCNet on drawn street scenes: makes the environment, prepares Jittor, trains, evaluates, and writes images to
# runs/demo of this repository. It can be called from any folder. Only Python packages are downloaded. A second run
# continues where the first one stopped; rm -r runs/demo starts again.
set -euo pipefail
LOG=runs/demo.log
. "$(dirname "$(readlink -f "$0")")/machine/setup.sh"
setup requirements.txt
out=runs/demo
steps=500
echo "Prepared after $SECONDS s. Training for $steps steps on drawn scenes"
logged python train.py --model ccnet_r18 --dataset scenes --input-size 96,128 --batch-size 4 --num-steps $steps \
  --optimizer adamw --learning-rate 1e-3 --weight-decay 1e-2 --random-mirror --snapshot-dir $out --resume auto
echo "Trained after $SECONDS s. Evaluating on 100 other scenes"
logged python evaluate.py --restore-from $out/CS_scenes_$steps.npz --save-dir $out --min-miou 0.70
logged python scripts/report.py $out
echo "Done after $SECONDS s. Look at $PWD/$out/report.html and $PWD/$out/sheet.png"
