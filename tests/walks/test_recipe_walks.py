"""Every recipe from a user's folder with relative paths: train, resume, evaluate, predict.

Networks and flags are those of the recipes; only sizes are reduced (walks/places.py).
"""

import json
import os
import subprocess

import numpy as np
import pytest
from walks.places import CUT, ROOT, ROOT_MAY, SCENES, check_run, evaluate, predict, python, walk

R101 = "530 arrays loaded; 32 keep their random start"
MIT, V1C = "resnet101-imagenet.pth", "resnet101_v1c-e67eebb6.pth"


def recipe(name):
    return ROOT / f"scripts/recipes/train_{name}.sh"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, data, classes, file, loaded, flags",
    [
        ("ade20k", "ade20k", 150, V1C, "530 arrays loaded", dict(model="ccnet_mmseg_r101", color_jitter=True)),
        ("cityscapes_van", "cityscapes", 19, "van_large.pth", "arrays loaded", dict(van_size="van_large")),
        ("camvid", "camvid", 11, None, None, dict(model="ccnet_r18", optimizer="adamw", warmup_steps=100)),
    ],
    ids=["ade20k", "cityscapes_van", "camvid"],
)
def test_a_recipe_from_its_weights_to_a_prediction(place, weights, name, data, classes, file, loaded, flags):
    if file:
        (place / "dataset" / file).symlink_to(weights(file))
    small = {"ade20k": ["--eval-short-side", "64"], "cityscapes_van": ["--eval-input-size", "65"]}.get(name, [])
    call = [recipe(name), "--data-dir", SCENES[data], *CUT, *small]
    first = walk(place, call)
    assert f"./snapshots/{name}/CS_scenes_2.npz" in first.stdout.splitlines()[-1]
    assert not file or (f"./dataset/{file}: " in first.output and loaded in first.output)
    options = check_run(place / "snapshots" / name, 2)
    published = dict(recurrence=2, random_mirror=True, num_steps=2, batch_size=2)
    assert {key: options[key] for key in (*published, *flags)} == {**published, **flags}
    if file:
        (place / "dataset" / file).unlink()  # resuming does not need it
    again = walk(place, [*call, "--resume", "auto", "--num-steps", "3"])
    assert f"resumed from ./snapshots/{name}/CS_scenes_2.npz: step 2" in again.output
    check_run(place / "snapshots" / name, 3)
    result = evaluate(place, f"snapshots/{name}/CS_scenes_3.npz", SCENES[data], classes)
    recorded = result["settings"]["protocol"]
    assert recorded == checkpoint_protocol(place / f"snapshots/{name}/CS_scenes_3.npz")
    sides = [options["eval_input_size"], options["eval_short_side"]]
    assert [recorded["window"], recorded["short_side"]] == sides
    assert recorded["align_corners"] == ("mmseg" not in options["model"])
    predict(place, f"snapshots/{name}/CS_scenes_3.npz", classes)


def checkpoint_protocol(path):
    with np.load(path) as file:
        return json.loads(file["__meta__"].item())["protocol"]


SMALL = [*CUT, "--input-size", "33"]
VARIANTS = {  # recipe -> dataset, classes, options: recipes that differ from the others by flags and data alone
    "cityscapes_r1": ("cityscapes", 19, dict(recurrence=1, keep_last=1)),
    "cityscapes_r2": ("cityscapes", 19, dict(recurrence=2, ohem=False)),
    "cityscapes_ccl": ("cityscapes", 19, dict(ccl=1.0)),
    "cityscapes_trainval": ("cityscapes", 19, dict(split="trainval", ohem_keep=400000)),
    "ade20k_8x60k": ("ade20k", 151, dict(num_classes=151, random_scale=True)),
    "ade20k_van": ("ade20k", 150, dict(optimizer="adamw", head_lr_factor=10.0, power=1.0)),
    "voc": ("voc", 21, dict(split="trainaug", min_learning_rate=1e-4)),
    "lip": ("lip", 20, dict(eval_short_side=473)),
    "coco_stuff": ("coco_stuff", 171, dict(cat_max_ratio=0.75)),
    "camvid_cityscapes": ("camvid", 11, dict(random_scale=True)),
    "camvid_clip": ("camvid", 11, dict(frames=5, frame_stride=1)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_a_recipe_trains(place, name):
    """Their networks and weights are those of the recipes above and of test_weight_files.py; here they are small."""
    data, classes, wanted = VARIANTS[name]
    network = ["--van-size", "van_tiny"] if "van" in name else ["--model", "ccnet_r18"]
    small = [*SMALL, *network, "--restore-from", "", "--eval-input-size", "33", "--save-every-minutes", "0"]
    call = [recipe(name), "--data-dir", SCENES[data], *small]
    done = walk(place, call)
    options = check_run(place / "snapshots" / name, 2)
    assert {key: options[key] for key in wanted} == wanted
    recorded = checkpoint_protocol(place / "snapshots" / name / "CS_scenes_2.npz")
    assert recorded["labels"]["classes"] == classes and recorded["short_side"] == options["eval_short_side"]
    assert "(validation follows it, checkpoints record it)" in done.output


def test_every_recipe_is_walked():
    walked = {"ade20k", "cityscapes_van", "camvid", "cityscapes", *VARIANTS}
    assert {path.stem[len("train_") :] for path in ROOT.glob("scripts/recipes/train_*.sh")} == walked


@pytest.mark.slow
def test_run_local_and_the_cityscapes_recipe(place, weights):
    """Training and evaluation by run_local.sh into another folder; the recipe resumes that run; a prediction."""
    (place / "dataset/resnet101-imagenet.pth").symlink_to(weights("resnet101-imagenet.pth"))
    small = [*CUT, "--eval-input-size", "65", "--snapshot-dir", "runs/first"]
    done = walk(place, [ROOT / "run_local.sh", SCENES["cityscapes"], *small])
    assert R101 in done.output
    options = check_run(place / "runs/first", 2)
    wanted = dict(model="ccnet", ohem=True, ohem_thres=0.7, ohem_keep=400000, save_pred_every=1000, weight_decay=1e-4)
    assert {key: options[key] for key in wanted} == wanted
    result = json.loads((place / "runs/first/result.json").read_text())
    assert result["settings"]["protocol"]["window"] == [65, 65]
    assert result["settings"]["checkpoint"] == "runs/first/CS_scenes_2.npz" and len(result["iou"]) == 19
    assert not (place / "snapshots").exists()
    call = [recipe("cityscapes"), "--data-dir", SCENES["cityscapes"], *small, "--num-steps", "3", "--resume", "auto"]
    assert "CS_scenes_2.npz: step 2" in walk(place, call).output
    check_run(place / "runs/first", 3)
    predict(place, "runs/first/CS_scenes_3.npz", 19)


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "cityscapes_van", "voc"])
def test_without_its_weights_a_recipe_prints_their_address(place, name):
    done = walk(place, [recipe(name), "--data-dir", SCENES[name.split("_")[0]], *CUT], code=1)
    file = {"cityscapes_van": "van_large.pth", "cityscapes": MIT}.get(name, V1C)
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"train.py: --restore-from ./dataset/{file}: there is no such file")
    assert "http" in line and f"Save it as {place}/dataset/{file}" in line and '--restore-from ""' in line


def test_random_weights_and_a_smaller_network_in_a_recipe(place):
    flags = ["--restore-from", "", "--model", "ccnet_r18", "--input-size", "33"]
    done = walk(place, [recipe("voc"), "--data-dir", SCENES["voc"], *CUT, *flags])
    assert '--restore-from "": the network starts from random weights' in done.output
    check_run(place / "snapshots/voc", 2)


SMALL_CAMVID = [*SMALL, "--eval-every", "9999"]


def test_two_ranks_by_gpus(place):
    """On the CPU with the real mpirun, through a link to the recipe; then with a hostfile."""
    (place / "train").symlink_to(recipe("camvid"))
    call = ["./train", "--data-dir", SCENES["camvid"], *SMALL_CAMVID]
    done = walk(place, call, GPUS="2", MPIRUN="mpirun --oversubscribe", **ROOT_MAY)
    assert "2 MPI ranks" in done.output
    check_run(place / "snapshots/camvid", 2)
    (place / "machines").write_text("localhost slots=2\n")
    done = walk(place, [*call, "--num-steps", "3", "--resume", "auto"], GPUS="2", HOSTFILE="machines", **ROOT_MAY)
    assert "2 MPI ranks" in done.output and "resumed from ./snapshots/camvid/CS_scenes_2.npz" in done.output
    check_run(place / "snapshots/camvid", 3)


def test_mpirun_that_would_refuse_is_explained(place):
    call = [recipe("camvid"), "--data-dir", SCENES["camvid"], *SMALL_CAMVID]
    if os.getuid() == 0:
        done = walk(place, call, code=1, GPUS="2", **dict.fromkeys(ROOT_MAY, ""))
        assert "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1" in done.stderr
        assert len(done.output.splitlines()) == 2
    many = str(os.cpu_count() + 1)
    last = walk(place, call, code=1, GPUS=many, **ROOT_MAY).stderr.splitlines()[-1]
    assert f"train_camvid.sh: {many} ranks on" in last and 'MPIRUN="mpirun --oversubscribe"' in last


@pytest.mark.slow
def test_an_mmsegmentation_command_line(place, weights):
    """A published command line without --amp, which needs a GPU: two ranks, from ImageNet weights."""
    options = [f"{part}_dataloader.dataset.data_root={SCENES['cityscapes']}" for part in ("train", "val")]
    config = ["--config", "../configs/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py", "--launcher", "pytorch"]
    call = python("scripts/recipes/run_ccnet.py", *config, "--nproc-per-node", "2", "--cfg-options", *options)
    done = walk(place, [*call, "--work-dir", "work", "--device", "abacus"], code=2, **ROOT_MAY)
    assert "invalid choice: 'abacus'" in done.output
    done = walk(place, [*call[:4], *call[8:], *CUT], code=1)
    assert "resnet50_v1c-2cccc1ad.pth: there is no such file" in done.stderr and "openmmlab" in done.stderr
    file = weights("resnet50_v1c-2cccc1ad.pth")
    (place / "dataset" / file.name).symlink_to(file)
    done = walk(place, [*call, *CUT, "--work-dir", "work"], **ROOT_MAY)
    assert done.stdout.startswith("mpirun -np 2 python ") and "2 MPI ranks" in done.output
    assert f"{file.name}: 275 arrays loaded" in done.output
    options = check_run(place / "work", 2)
    assert (options["model"], options["color_jitter"], options["cat_max_ratio"]) == ("ccnet_mmseg_r50", True, 0.75)
    evaluate(place, "work/CS_scenes_2.npz", SCENES["cityscapes"], 19)
    predict(place, "work/CS_scenes_2.npz", 19)


@pytest.mark.parametrize("name", ["demo", "test", "coverage"])
def test_a_link_to_a_script_works_in_the_repository_from_another_folder(checkout, tmp_path, name):
    """Up to the check of the Python version, which fails here; tests/scripts/machine/test_prepare.py has the rest."""
    interpreter, here = tmp_path / "python3.13", tmp_path / "here"
    interpreter.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.13.0 || exit 1\n')
    interpreter.chmod(0o755)
    here.mkdir()
    (here / "link").symlink_to(checkout / f"scripts/{name}.sh")
    env = {**os.environ, "PYTHON": str(interpreter), "VENV": str(tmp_path / "venv")}
    done = subprocess.run(["./link"], cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "Python 3.13.0: Jittor" in done.stderr
    assert f"The log: {checkout}/runs/{name}.log" in done.stderr and os.listdir(here) == ["link"]
