"""scripts/recipes/train_*.sh and run_local.sh, with programs that only print their arguments."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train

ROOT = Path(__file__).resolve().parents[3]
OFFICIAL = dict(model="ccnet", input_size=(769, 769), batch_size=8, num_steps=60000, weight_decay=1e-4, recurrence=2)
OFFICIAL.update(learning_rate=1e-2, momentum=0.9, power=0.9, random_scale=True, ohem=False, ccl=0.0)
OFFICIAL.update(eval_input_size=(769, 769), eval_every=10000)
OHEM = dict(ohem=True, ohem_thres=0.7, ohem_keep=400000)
MMSEG = dict(model="ccnet_mmseg_r101", input_size=(512, 512), batch_size=16, weight_decay=5e-4, recurrence=2)
MMSEG.update(learning_rate=1e-2, momentum=0.9, power=0.9, min_learning_rate=1e-4, eval_short_side=512)
MMSEG.update(short_side=(512,), long_side=2048, scale_range=(0.5, 2), cat_max_ratio=0.75, color_jitter=True)
VAN = dict(model="van", van_size="van_large", optimizer="adamw", learning_rate=6e-5, weight_decay=0.01, power=1.0)
VAN.update(warmup_steps=1500, head_lr_factor=10.0, recurrence=2, drop_path=None)  # None: 0.3, that of van_large
PUBLISHED = {  # recipe -> settings of the published training
    "cityscapes": {**OFFICIAL, **OHEM},
    "cityscapes_r1": {**OFFICIAL, "recurrence": 1},
    "cityscapes_r2": OFFICIAL,
    "cityscapes_ccl": {**OFFICIAL, "ccl": 1.0},
    "cityscapes_trainval": {**OFFICIAL, **OHEM, "split": "trainval", "num_steps": 100000, "eval_every": None},
    "cityscapes_van": {**VAN, "input_size": (512, 512), "num_steps": 60000, "eval_input_size": (512, 512)},
    "ade20k": {**MMSEG, "num_steps": 80000},
    "ade20k_8x60k": {**OFFICIAL, "model": "ccnet_large", "input_size": (512, 512), "num_classes": 151}
    | {"eval_input_size": (512, 512)},
    "ade20k_van": {**VAN, "short_side": (512,), "scale_range": (0.5, 2), "batch_size": 16, "num_steps": 160000},
    "voc": {**MMSEG, "split": "trainaug", "num_steps": 40000},
    "lip": {**OFFICIAL, "input_size": (473, 473), "batch_size": 16, "num_steps": 110000, "eval_short_side": 473}
    | {"eval_input_size": None},
    "coco_stuff": {**MMSEG, "num_steps": 80000},
    "camvid": dict(model="ccnet_r18", optimizer="adamw", random_scale=True, recurrence=2),
    "camvid_cityscapes": {**OFFICIAL, "input_size": (360, 480), "num_steps": 10000, "learning_rate": 1e-3}
    | {"eval_input_size": None, "eval_every": 1000},
    "camvid_clip": {**OFFICIAL, "input_size": (360, 480), "num_steps": 10000, "learning_rate": 1e-3, "frames": 5}
    | {"eval_input_size": None, "eval_every": 1000},
}


AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
TRAIN = f"python {ROOT}/train.py "


def program(path, body):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def call(tmp_path, monkeypatch):
    names = ["scenes", "cityscapes", "ade20k", "voc", "camvid", "lip", "coco_stuff"]
    monkeypatch.setattr(train, "DATASETS", dict.fromkeys(names), raising=False)
    program(tmp_path / "bin/mpirun", 'echo "mpirun" "$@"')
    program(tmp_path / "bin/python", f'[ "$1" = -c ] && exec {sys.executable} "$@"\necho python "$@"')
    program(tmp_path / "bin/nvidia-smi", "exit 9")

    def run(*command, code=0, **env):
        env = {**os.environ, **AS_ROOT, "VENV": str(tmp_path), "GPUS": "4", **env}
        done = subprocess.run([ROOT / command[0], *command[1:]], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout.splitlines() if code == 0 else done.stderr

    return run


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_a_recipe_has_the_published_settings_and_passes_flags_on(call, recipe):
    (line,) = call(f"scripts/recipes/train_{recipe}.sh", "--data-dir", "D", "--seed", "5")
    before, flags = line.split(TRAIN)
    assert before == "mpirun -np 4 -x PATH "
    args = train.parse_args(flags.split())
    assert {name: getattr(args, name) for name in PUBLISHED[recipe]} == PUBLISHED[recipe]
    assert (args.random_mirror, args.data_dir, args.random_seed) == (True, "D", 5)


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_the_head_of_a_recipe_names_its_weights_and_its_folder(call, recipe):
    head = (ROOT / f"scripts/recipes/train_{recipe}.sh").read_text().split("set -euo")[0]
    (line,) = call(f"scripts/recipes/train_{recipe}.sh", "--data-dir", "D")
    args = train.parse_args(line.split(TRAIN)[1].split())
    assert args.snapshot_dir in head.replace("\n# ", " ") and (args.restore_from or "random weights") in head
    lines = head.splitlines()
    assert len(lines) == 5 and (recipe == "camvid" or "ublished" in head)  # nobody published a CCNet on CamVid alone
    shared = (ROOT / "scripts/recipes/settings.sh").read_text()
    assert "relative to the current folder" in shared
    file = (args.restore_from or "").removeprefix("./dataset/")
    assert file in shared or file.startswith("./snapshots/")


def test_every_recipe_is_tested():
    assert {path.stem[len("train_") :] for path in ROOT.glob("scripts/recipes/train_*.sh")} == set(PUBLISHED)


def test_one_gpu_needs_no_mpirun_and_a_hostfile_names_machines(call, tmp_path):
    for gpus in ("0", "1", ""):  # "": the number that nvidia-smi lists, which is 0 without a driver
        (line,) = call("scripts/recipes/train_camvid.sh", GPUS=gpus)
        assert line.startswith(TRAIN)
    program(tmp_path / "bin/nvidia-smi", "echo GPU 0\necho GPU 1")
    (line,) = call("scripts/recipes/train_camvid.sh", GPUS="")
    assert line.startswith(f"mpirun -np 2 -x PATH {TRAIN}")
    (tmp_path / "machines").touch()
    (line,) = call("scripts/recipes/train_camvid.sh", GPUS="8", HOSTFILE="machines")  # in the current folder
    assert line.startswith(f"mpirun -np 8 --hostfile machines -x PATH {TRAIN}")
    (line,) = call("scripts/recipes/train_camvid.sh", GPUS="1", HOSTFILE="machines", MPIRUN="mpirun --oversubscribe")
    assert line.startswith(f"mpirun --oversubscribe -np 1 --hostfile machines -x PATH {TRAIN}")


def test_what_cannot_start_is_an_error_with_the_fix(call, tmp_path):
    def refused(**env):
        error = call("scripts/recipes/train_camvid.sh", code=1, **env)
        assert error.startswith("train_camvid.sh: ")
        return error

    assert "GPUS=two is not a number" in refused(GPUS="two")
    assert "HOSTFILE=nowhere is not a file" in refused(HOSTFILE="nowhere")
    assert "HOSTFILE needs GPUS=N" in refused(GPUS="", HOSTFILE="machines")
    assert "nothing is not on PATH" in refused(MPIRUN="nothing")
    (tmp_path / "bin/python").unlink()
    here = {"PATH": str(tmp_path / "bin"), "GPUS": "1"}
    for name in ("bash", "dirname", "basename", "readlink"):
        (tmp_path / "bin" / name).symlink_to(
            f"/usr/bin/{name}" if os.path.exists(f"/usr/bin/{name}") else f"/bin/{name}"
        )
    assert "there is no python on PATH" in call_with(here, tmp_path)


def call_with(env, folder):
    command = [ROOT / "scripts/recipes/train_camvid.sh"]
    env = {**os.environ, "VENV": str(folder / "none"), **env}
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder).stderr


@pytest.mark.skipif(os.getuid() != 0, reason="mpirun refuses root alone")
def test_root_gets_the_variables_to_set_before_mpirun_refuses(call):
    for env in ({"OMPI_ALLOW_RUN_AS_ROOT": ""}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": ""}):
        error = call("scripts/recipes/train_camvid.sh", code=1, **env)
        assert "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in error
        assert call("scripts/recipes/train_camvid.sh", **env, MPIRUN="mpirun --allow-run-as-root")


def test_a_recipe_works_through_a_link(call, tmp_path):
    for name in ("scripts/recipes/train_voc.sh", "run_local.sh"):
        (tmp_path / "link").symlink_to(ROOT / name)
        assert call(tmp_path / "link", "D")[0].startswith(f"mpirun -np 4 -x PATH {TRAIN}")
        (tmp_path / "link").unlink()


def test_run_local_trains_and_evaluates_the_last_checkpoint_of_that_run(call, tmp_path):
    evaluation = f"mpirun -np 4 -x PATH python {ROOT}/evaluate.py --data-dir CITYSCAPES --dataset cityscapes "
    (tmp_path / "snapshots/cityscapes").mkdir(parents=True)
    (tmp_path / "snapshots/cityscapes/CS_scenes_90000.npz").touch()  # of another run
    first, second = call("run_local.sh", "CITYSCAPES", "--ohem", "0")
    assert "--data-dir CITYSCAPES" in first and first.endswith("--ohem 0")
    where = "--restore-from ./snapshots/cityscapes/CS_scenes_60000.npz --save-dir ./snapshots/cityscapes --device auto"
    assert second == evaluation + where
    for flags in (
        ["--snapshot-dir", "my runs/a"],
        ["--snapshot-dir=my runs/a"],
        ["--snap", "b", "--snap", "my runs/a"],
    ):
        first, second = call("run_local.sh", "CITYSCAPES", *flags, "--num-steps", "20", "--device", "cpu")
        where = "--restore-from my runs/a/CS_scenes_20.npz --save-dir my runs/a --device cpu"
        assert second == evaluation + where
        assert train.parse_args(first.replace("my runs", "my_runs").split(TRAIN)[1].split()).num_steps == 20
    chunk = ["--max-iter", "60000", "--start", "2000", "--num-steps", "2000"]
    assert "CS_scenes_4000.npz" in call("run_local.sh", "CITYSCAPES", *chunk)[1]
    assert "usage" in call("run_local.sh", code=2) and "usage" in call("run_local.sh", "--seed", code=2)


def test_folders_may_have_spaces_in_their_names(call, tmp_path):
    clone = tmp_path / "my clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts", ignore=shutil.ignore_patterns("*.py"))
    for gpus, before in (("1", ""), ("2", "mpirun -np 2 -x PATH ")):
        (line,) = call(clone / "scripts/recipes/train_camvid.sh", "--data-dir", "my data", GPUS=gpus)
        assert line.startswith(f"{before}python {clone}/train.py ") and line.endswith("--data-dir my data")


def test_help_of_run_local_is_that_of_training(call):
    (line,) = call("run_local.sh", "CITYSCAPES", "--help", GPUS="1")
    assert line.startswith(TRAIN) and line.endswith(" --help")


def test_run_local_does_not_evaluate_if_training_fails(call, tmp_path):
    program(tmp_path / "bin/mpirun", 'echo "$@"; exit 75')
    assert "evaluate.py" not in call("run_local.sh", "CITYSCAPES", code=75)


@pytest.mark.parametrize(
    "name",
    [
        "resnet101-imagenet.pth",
        "van_large.pth",
        "van_tiny_754.pth.tar",
        "van_b0.pth",
        "resnet50-0676ba61.pth",
        "resnet101_v1c-e67eebb6.pth",
        "CS_scenes_60000.pth",
    ],
)
def test_published_weights_that_are_missing_are_named_with_their_source(name, tmp_path, monkeypatch):
    from utils.weights import sources

    source = sources.where_published(name)
    assert (source is None) == (name in ("van_b0.pth", "CS_scenes_60000.pth"))
    monkeypatch.chdir(tmp_path)
    if source:
        with pytest.raises(FileNotFoundError, match=re.escape(f"Save it as {tmp_path}/{name}, name another file")):
            sources.check_exists(name)
        assert "http" in source
    else:
        sources.check_exists(name)  # no error: reading the file reports that it is missing
    (tmp_path / name).touch()
    sources.check_exists(name)


def test_all_names_of_a_van_file_mean_the_same_published_file():
    from utils.weights import sources

    names = ("van_large.pth", "van_large_839.pth.tar", "van_large.pth.tar")
    assert len({sources.where_published(name) for name in names}) == 1
    assert "van_large_839.pth.tar at https://huggingface.co/Visual-Attention-Network/VAN-Large-original" in (
        sources.where_published("van_large.pth")
    )
