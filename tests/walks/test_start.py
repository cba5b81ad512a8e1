"""Starts of runs, as a user starts them: in separate folders, with the programs of this repository, to the end."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from walks.weight_files import basic_resnet, filled

from datasets.scenes import dataset, folders
from utils import runtime
from utils.weights import checkpoint
from utils.weights.formats import pytorch

ROOT = Path(__file__).resolve().parent.parent.parent
MPIRUN = Path(runtime.read_record().get("mpicc") or "none").with_name("mpirun")
TINY = "tests/support/tiny.py --model tiny"  # train.py with one more network
SMALL = "--device cpu --input-size 33 --batch-size 2 --num-steps 2"


def walk(folder, line, code=0):
    """A command of this repository, started in `folder`. -> what it printed."""
    words = shlex.split(line)
    command = [sys.executable, str(ROOT / words[0]), *words[1:]]
    env = {key: value for key, value in os.environ.items() if key != "CITYSCAPES_DATASET"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=folder, env=env, timeout=900, **streams)
    assert done.returncode == code and "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_from_a_torchvision_file_through_resume_to_evaluation_and_prediction(tmp_path):
    """Depth, stem and normalisation come from the file, not from flags."""
    arrays = filled(basic_resnet())
    pytorch.save(tmp_path / "resnet18-5c106cde.pth", arrays)
    train = f"train.py {SMALL} --scene-size 40,56 --learning-rate 0 --restore-from resnet18-5c106cde.pth"
    output = walk(tmp_path, train)
    assert output.count("taken from the file: model ccnet_r18, stem v1, input RGB") == 1
    assert "100 arrays loaded; 32 keep their random start: head." in output
    got, meta = checkpoint.load(tmp_path / "snapshots" / "CS_scenes_2.npz")
    assert (got["conv1.weight"] == arrays["conv1.weight"]).all() and meta["normalisation"]["channels"] == "rgb"
    assert (meta["model"], meta["recurrence"]) == ("ccnet_r18", 2) and meta["model_options"] == {"stem": "v1"}

    output = walk(tmp_path, f"{train} --num-steps 3 --start 1 --resume snapshots/CS_scenes_2.pth")
    assert (
        "snapshots/CS_scenes_2.pth does not exist: using snapshots/CS_scenes_2.npz" in output
        and "CS_scenes_2.npz: step 2" in output
    )
    assert (
        "--restore-from resnet18-5c106cde.pth is not read" in output
        and "--start-iters 1 has no effect: the run is resumed" in output
    )
    assert '"checkpoint": "./snapshots/CS_scenes_3.npz"' in output
    assert checkpoint.load(tmp_path / "snapshots" / "CS_scenes_3.npz")[1]["options"]["model"] == "ccnet_r18"

    seed = "--restore-from ./snapshots/CS_scenes_3.pth --gpu 0"  # as the PyTorch documents print it
    output = walk(tmp_path, f"evaluate.py {seed} --device cpu --eval-images 2")
    assert "CS_scenes_3.pth does not exist: using ./snapshots/CS_scenes_3.npz" in output and "rgb minus" in output
    assert "2 images: mean IoU" in output and "--gpu 0 has no effect on the CPU" in output
    result = json.loads((tmp_path / "snapshots" / "outputs" / "result.json").read_text())
    assert sum(result["pixels"].values()) < 2 * 40 * 56  # the size of the scenes is that of the training

    Image.fromarray(dataset.draw_scene(1, 1, 40, 56)[0]).save(tmp_path / "photo.png")
    predict = "scripts/predict.py --input photo.png --save-dir out --device cpu"
    assert "1 of 1 files done" in walk(tmp_path, f"{predict} {seed}")

    for flag, words in (
        ("--stem deep", "--stem deep contradicts resnet18-5c106cde.pth, which has stem v1; leave --stem out"),
        ("--model ccnet_r50", "--model ccnet_r50 contradicts resnet18-5c106cde.pth, which has model ccnet_r18"),
        (
            "--source serge",
            "its keys are those of torchvision (an ImageNet ResNet with one 7x7 convolution in its stem)",
        ),
    ):
        output = walk(tmp_path, f"{train} --snapshot-dir other {flag}", code=1)
        assert words in output.splitlines()[-1]


def test_a_checkpoint_records_its_dataset_until_the_folder_is_moved(tmp_path):
    """Trained with a relative --data-dir, evaluated from another folder: never on generated scenes."""
    (tmp_path / "elsewhere").mkdir()
    folders.write_cityscapes(tmp_path / "sets" / "city", 2, (48, 64))
    walk(tmp_path, f"train.py {SMALL} --model ccnet_r18 --data-dir sets/city --snapshot-dir run")
    evaluate = "evaluate.py --restore-from ../run/CS_scenes_2.npz --device cpu"
    output = walk(tmp_path / "elsewhere", evaluate)
    assert f"data: cityscapes in {tmp_path}/sets/city, as ../run/CS_scenes_2.npz records" in output
    assert "2 images: mean IoU" in output and "motorcycle" in output
    walk(tmp_path / "elsewhere", f"{evaluate} --dataset cityscape --num-classes 19 --ignore-label 255 --save-dir b")

    (tmp_path / "sets").rename(tmp_path / "moved")
    output = walk(tmp_path / "elsewhere", evaluate, code=1)
    assert output.splitlines()[-1].endswith("sets/city, which does not exist: give --data-dir")
    for flag in ("--dataset scenes", "--dataset scenes --scene-size 48,64", "--scene-size 48,64"):
        output = walk(tmp_path / "elsewhere", f"{evaluate} {flag}", code=1)
        assert "scenes" in output.splitlines()[-1] or "give --data-dir" in output.splitlines()[-1]
    output = walk(tmp_path / "elsewhere", f"{evaluate} --data-dir ../moved/city")
    assert "2 images: mean IoU" in output and "as ../run" not in output


def test_bare_training_takes_the_dataset_that_is_unpacked_in_the_current_folder(tmp_path):
    """`python train.py` with ADE20K unpacked in the current folder. Only the size is reduced."""
    folders.write_ade20k(tmp_path, 2, (48, 64))
    output = walk(tmp_path, f"{TINY} {SMALL}")
    assert "data: ade20k in ADEChallengeData2016, found in the current folder" in output
    path = tmp_path / "snapshots" / "CS_scenes_2.npz"
    _, meta = checkpoint.load(path)
    assert meta["num_classes"] == 150 and meta["data"]["data_dir"] == str(tmp_path / "ADEChallengeData2016")
    output = walk(
        tmp_path.parent, f"{TINY} {SMALL} --snapshot-dir {tmp_path / 'snapshots'} --num-steps 3 --resume auto"
    )
    assert f"data: ade20k in {tmp_path}/ADEChallengeData2016" in output  # resumed from another folder

    folders.write_voc(tmp_path, 2, (48, 64))
    output = walk(tmp_path, f"{TINY} {SMALL} --snapshot-dir b", code=1)
    assert "holds ade20k (ADEChallengeData2016) and voc" in output.splitlines()[-1]
    assert "data: voc in " in walk(tmp_path, f"{TINY} {SMALL} --snapshot-dir b --dataset voc")
    output = walk(tmp_path, f"{TINY} {SMALL} --snapshot-dir c --dataset lip", code=1)
    assert "--dataset lip needs --data-dir" in output.splitlines()[-1]


def test_generated_scenes_and_flags_without_effect_are_reported(tmp_path):
    output = walk(tmp_path, f"{TINY} {SMALL} --resize-labels --ohem-keep 9")
    assert "data: drawn scenes (no --data-dir, and no known dataset in the current folder)" in output
    assert "--resize-labels has no effect with --dataset scenes" in output
    assert "--ohem-keep has no effect without --ohem" in output
    assert "--cache ram has no use with drawn scenes" in walk(
        tmp_path, f"{TINY} {SMALL} --cache ram --snapshot-dir b", code=1
    )


def test_a_packed_folder_refuses_the_cache_and_is_recorded(tmp_path):
    folders.write_folder(tmp_path / "mine", 2, (48, 64))
    walk(tmp_path, "scripts/data/pack.py --data-dir mine --out packed --workers 0")
    output = walk(tmp_path, f"{TINY} {SMALL} --data-dir packed --cache ram", code=1)
    assert "--cache ram has no use with a packed folder" in output.splitlines()[-1]
    walk(tmp_path, f"{TINY} {SMALL} --data-dir packed")
    _, meta = checkpoint.load(tmp_path / "snapshots" / "CS_scenes_2.npz")
    assert meta["data"] == {"name": "packed", "data_dir": str(tmp_path / "packed"), "scene_size": None}
    assert meta["dataset"] == "folder"


@pytest.mark.skipif(not MPIRUN.is_file(), reason="no mpirun")
def test_the_command_printed_for_several_gpus_works(tmp_path, monkeypatch):
    """Here on the CPU, where --gpu has no effect."""
    output = walk(tmp_path, f"{TINY} --gpu 0,1 {SMALL} --scene-size 40,56")
    assert "--gpu 0,1 has no effect on the CPU" in output
    (line,) = [text for text in output.splitlines() if "mpirun" in text]
    command = line.split(": ", 1)[1]
    assert "--gpu" not in command and "--input-size 33 --batch-size 2 --num-steps 2 --scene-size 40,56" in command
    monkeypatch.setenv("PATH", f"{MPIRUN.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_MCA_rmaps_default_mapping_policy"):
        monkeypatch.setenv(name, ":oversubscribe" if "mapping" in name else "1")
    command += " --device cpu --snapshot-dir two"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 MPI ranks" in done.stdout and (tmp_path / "two" / "CS_scenes_2.npz").is_file()
