"""The recipes in scripts/train_*.sh and run_local.sh, with programs that only say how they were called."""

import os
import subprocess
from pathlib import Path

import pytest

import train

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = {  # recipe -> what the published command says
    "cityscapes": dict(
        model="ccnet",
        input_size=(769, 769),
        batch_size=8,
        num_steps=60000,
        weight_decay=1e-4,
        ohem_thres=0.7,
        ohem=True,
    ),
    "ade20k": dict(model="ccnet_large", input_size=(512, 512), batch_size=8, num_steps=60000, weight_decay=1e-4),
    "voc": dict(
        model="ccnet", input_size=(512, 512), batch_size=16, num_steps=40000, weight_decay=5e-4, split="trainaug"
    ),
    "cityscapes_van": dict(
        model="van", van_size="van_large", input_size=(512, 512), num_steps=60000, weight_decay=1e-4
    ),
    "camvid": dict(model="ccnet_r18", optimizer="adamw"),
}


@pytest.fixture
def call(tmp_path, monkeypatch):
    known = ["scenes", "cityscapes", "ade20k", "voc", "camvid"]
    monkeypatch.setattr(train, "DATASETS", dict.fromkeys(known), raising=False)
    for name in ("python", "mpirun"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name}" "$@"\n')
        program.chmod(0o755)

    def run(*command, code=0, **env):
        env = {**os.environ, "VENV": str(tmp_path), "GPUS": "4", **env}
        done = subprocess.run([ROOT / command[0], *command[1:]], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout.splitlines() if code == 0 else done.stderr

    return run


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_recipe_has_the_published_settings_and_passes_flags_on(call, recipe):
    (line,) = call(f"scripts/train_{recipe}.sh", "--data-dir", "D", "--seed", "5")
    before, flags = line.split(" train.py ")
    assert before == "mpirun -np 4 -x PATH python"
    args = train.parse_args(flags.split())
    assert {name: getattr(args, name) for name in PUBLISHED[recipe]} == PUBLISHED[recipe]
    assert (args.recurrence, args.random_mirror, args.random_scale) == (2, True, True)
    assert (args.data_dir, args.random_seed) == ("D", 5)
    if args.optimizer == "sgd":
        assert (args.learning_rate, args.momentum, args.power) == (0.01, 0.9, 0.9)


def test_every_recipe_is_tested():
    assert {path.stem[len("train_") :] for path in ROOT.glob("scripts/train_*.sh")} == set(PUBLISHED)


def test_one_gpu_or_none_needs_no_mpirun_and_machines_come_from_a_file(call):
    (line,) = call("scripts/train_camvid.sh", GPUS="0")
    assert line.startswith("python train.py")
    (line,) = call("scripts/train_camvid.sh", GPUS="8", HOSTFILE="machines")
    assert line.startswith("mpirun -np 8 --hostfile machines -x PATH python train.py")


def test_run_local_trains_and_evaluates(call):
    first, second = call("run_local.sh", "CITYSCAPES", "--ohem", "0")
    assert "--data-dir CITYSCAPES" in first and first.endswith("--ohem 0")
    assert second.startswith("mpirun -np 4 -x PATH python evaluate.py --data-dir CITYSCAPES --dataset cityscapes")
    assert "CS_scenes_60000.npz" in second
    assert "usage" in call("run_local.sh", code=2) and "usage" in call("run_local.sh", "--seed", code=2)


def test_an_mmsegmentation_command_is_translated():
    """As a model zoo prints it; the config need not be there."""
    import sys

    sys.path.insert(0, str(ROOT / "scripts"))
    import run_ccnet

    line = (
        "--config ../configs/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py --launcher pytorch --nproc-per-node 4"
    )
    line += " --amp --cfg-options train_dataloader.dataset.data_root=D val_dataloader.dataset.data_root=D"
    words = run_ccnet.command(*run_ccnet.parse_args(line.split()))
    assert words[1:3] == ["-np", "4"] and Path(words[0]).name == "mpirun"
    args = train.parse_args(words[5:])
    assert (args.model, args.batch_size, args.num_steps, args.input_size) == ("ccnet_mmseg_r50", 8, 40000, (512, 1024))
    assert (args.dataset, args.data_dir, args.amp, args.weight_decay) == ("cityscapes", "D", "float16", 5e-4)
    line = "--config ccnet_r101-d8_4xb4-20k_voc12aug-512x512 --work-dir W --seed 3"
    args = train.parse_args(run_ccnet.command(*run_ccnet.parse_args(line.split()))[2:])
    assert (args.model, args.split, args.snapshot_dir, args.random_seed) == ("ccnet_mmseg_r101", "trainaug", "W", 3)
    for wrong in ("--config pspnet_r50", "--config ccnet_r50-d8_4xb2-40k_cityscapes-769x769 --cfg-options lr=1"):
        with pytest.raises(ValueError, match="not named as a CCNet config|only ...data_root"):
            run_ccnet.command(*run_ccnet.parse_args(wrong.split()))
