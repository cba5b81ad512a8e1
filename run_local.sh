#!/usr/bin/env bash
# Train on Cityscapes (scripts/recipes/train_cityscapes.sh), then evaluate the last checkpoint of that run.
#   ./run_local.sh CITYSCAPES [more flags of train.py]
# Results are written beside the checkpoint: to ./snapshots/cityscapes of the current folder, or to --snapshot-dir.
set -euo pipefail
if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
  echo "usage: $0 CITYSCAPES [more flags of train.py]" >&2
  exit 2
fi
here="$(dirname "$(readlink -f "$0")")"
. "$here/scripts/recipes/ranks.sh"
path=$1
shift
case " $* " in *" --help "* | *" -h "*) exec "$here/scripts/recipes/train_cityscapes.sh" --help ;; esac
flags=(--data-dir "$path" --num-steps 60000 --snapshot-dir ./snapshots/cityscapes "$@")
"$here/scripts/recipes/train_cityscapes.sh" "${flags[@]}"
# train.py parses the flags, which may be abbreviated or repeated
read_flags='import sys; sys.path.insert(0, sys.argv.pop(1)); import train; args = train.parse_args()
print(f"{args.snapshot_dir}\n{args.last_step}\n{args.device}")'
{ read -r out; read -r step; read -r device; } < <(python -c "$read_flags" "$here" "${flags[@]}")
ranks evaluate.py --data-dir "$path" --dataset cityscapes --restore-from "$out/CS_scenes_$step.npz" --save-dir "$out" \
  --device "$device"
