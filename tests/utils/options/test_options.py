"""Published command lines of CCNet parse to the right values; help, errors and remarks of the flags."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import train
from utils.options import shared
from utils.options import train as train_options

ROOT = Path(__file__).resolve().parents[3]
OFFICIAL = (
    "--data-dir CS --random-mirror --random-scale --restore-from ./dataset/resnet101-imagenet.pth --gpu 0,1,2,3 "
    "--learning-rate 1e-2 --input-size 769,769 --weight-decay 1e-4 --batch-size 8 --num-steps 60000 --recurrence 2"
)
JITTOR = (
    "--data-dir D --restore-from ./dataset/{weights} --start 0 --max-iter 60000 --random-mirror --random-scale "
    "--learning-rate 1e-2 --input-size 512 --weight-decay 1e-4 --batch-size 8 --num-steps 60000 --save-pred-every 2000 "
    "--recurrence 2 --model {model} --dataset {dataset} --num-classes {classes}"
)


def jittor(**words):
    return JITTOR.format(**words)


TRAINING = {  # command line -> values of its arguments
    OFFICIAL: {
        "model": None,  # recorded in the checkpoint, else ccnet; the official script crashed without --model
        "data_dir": "CS",
        "restore_from": "./dataset/resnet101-imagenet.pth",
        "gpu": "0,1,2,3",
        "learning_rate": 0.01,
        "input_size": (769, 769),
        "weight_decay": 1e-4,
        "batch_size": 8,
        "num_steps": 60000,
        "last_step": 60000,
        "recurrence": 2,
        "random_mirror": True,
        "random_scale": True,
        "ohem": False,
        "momentum": 0.9,
        "power": 0.9,
    },
    OFFICIAL + " --ohem 1 --ohem-thres 0.7 --ohem-keep 100000": {"ohem": True, "ohem_thres": 0.7, "ohem_keep": 100000},
    # the fork without CUDA extension
    "--data-dir /data/datasets/Cityscapes/ --random-mirror --random-scale --gpu 0,1,2,3 --learning-rate 0.01 "
    "--restore-from ./dataset/resnet101-imagenet.pth --input-size 769,769 --weight-decay 0.0001 --batch-size 4 "
    "--num-steps 60000 --recurrence 2 --ohem 1 --ohem-thres 0.7 --ohem-keep 100000 --model ccnet": {
        "batch_size": 4,
        "model": "ccnet",
    },
    # run_local.sh of the official code: no --recurrence, there a network without attention
    "--data-dir CS --random-mirror --random-scale --restore-from ./dataset/resnet101-imagenet.pth --gpu 0,1,2,3 "
    "--learning-rate 1e-2 --weight-decay 5e-4 --input-size 769,769 --num-steps 60000 --batch-size 8 --ohem 0": {
        "recurrence": None,  # recorded in the checkpoint, else 2
        "ohem": False,
        "weight_decay": 5e-4,
    },
    jittor(weights="resnet101-imagenet.pth", model="ccnet_large", dataset="ade20k", classes=151): {
        "start_iters": 0,
        "num_steps": 60000,
        "last_step": 60000,
        "input_size": (512, 512),
        "dataset": "ade20k",
        "num_classes": 151,
        "model": "ccnet_large",
        "save_pred_every": 2000,
    },
    jittor(weights="resnet101-imagenet.pth", model="ccnet_large", dataset="cityscape", classes=19): {
        "dataset": "cityscapes",
        "num_classes": 19,
    },
    jittor(weights="van_large.pth", model="van", dataset="ade20k", classes=151) + " --van-size van_large": {
        "model": "van",
        "van_size": "van_large",
    },
    jittor(weights="van_large.pth", model="van", dataset="cityscape", classes=19) + " --van-size van_large": {
        "dataset": "cityscapes",
        "van_size": "van_large",
    },
    "": {"batch_size": 8, "num_steps": 40000, "random_mirror": False, "save_pred_every": 10000, "random_seed": 12345},
    "--start 0 --max-iter 60000 --model ccnet_large --dataset ade20k --num-classes 151 --input-size 512": {
        "num_steps": 60000
    },
    "--max-iter 60000 --start-iters 500 --num-steps 500": {"num_steps": 60000, "start_iters": 500, "last_step": 1000},
    "--num-steps 60000 --start-iters 20000": {"num_steps": 60000, "last_step": 60000},  # the official meaning
    "--batch-size 8 --ignore-label 255 --num-workers 8 --momentum 0.9 --power 0.9 --random-seed 12345 "
    "--save-pred-every 10000 --snapshot-dir ./snapshots/ --start-iters 0 --ohem False --ohem-thres 0.6 "
    "--ohem-keep 200000 --data-list ./dataset/list/cityscapes/train.lst --print-frequency 50": {
        "ignore_label": 255,
        "num_workers": 8,
    },
    "--ohem --random-mirror False --ccl": {"ohem": True, "random_mirror": False, "ccl": 1.0},
    "--seed 7 -c a.npz --lr 0.1 --input-size 512x1024": {
        "random_seed": 7,
        "resume": "a.npz",
        "input_size": (512, 1024),
    },
    "--continue a.npz --class-weights 1,0.5,2": {"resume": "a.npz", "class_weights": [1, 0.5, 2], "amp": None},
    "--amp --seed 1": {"amp": "float16"},
}


@pytest.fixture(autouse=True)
def all_names(monkeypatch):
    """Only the names of models and datasets; nothing is built."""
    monkeypatch.setattr(train, "MODELS", dict.fromkeys(["ccnet", "ccnet_large", "van", *train.MODELS]))
    known = ["scenes", "cityscapes", "ade20k", "voc", "camvid", *getattr(train, "DATASETS", ())]
    monkeypatch.setattr(train, "DATASETS", dict.fromkeys(known), raising=False)


@pytest.mark.parametrize("line", TRAINING, ids=range(len(TRAINING)))
def test_a_published_training_command_parses_to_the_right_values(line):
    args = train.parse_args(line.split())
    args.dataset = {"cityscape": "cityscapes"}.get(args.dataset, args.dataset)
    assert {name: getattr(args, name) for name in TRAINING[line]} == TRAINING[line]


@pytest.mark.parametrize(
    "line, words",
    [
        ("--model ccnet_r19", "invalid choice: 'ccnet_r19'"),
        ("--dataset cityscope", "invalid choice: 'cityscope'"),
        ("--input-size 0", "'0' is not a size"),
        ("--batch-size -1", "'-1': expected a whole number"),
        ("--ohem perhaps", "'perhaps' is neither yes nor no"),
        ("--num-steps 10 --start 10", "--start-iters 10 is not before the last step, 10"),
        ("--ohem-thres 70", "is not a probability"),
        ("--momentum 9", "--momentum 9.0 is not between 0 and 1"),
        ("--class-weights 1,a", "expected numbers with commas"),
        ("--iterations 10", "unrecognized arguments: --iterations"),
    ],
)
def test_a_mistake_is_named(line, words, capsys):
    with pytest.raises(SystemExit) as leaving:
        train.parse_args(line.split())
    assert leaving.value.code == 2 and words in capsys.readouterr().err


def test_flags_without_effect_are_accepted_and_reported_once():
    line = "--is-training --not-restore-last --save-num-images 2 --local_rank 0 -d 0,1 --ft True --image-dir a"
    line += " --is-training"
    args = train.parse_args(line.split())
    lines = train_options.remarks(args, "cpu", line.split())
    for name in "--is-training --not-restore-last --save-num-images --local_rank -d --ft --image-dir".split():
        assert len([text for text in lines if text.startswith(f"{name} has no effect")]) == 1
    assert not train_options.remarks(train.parse_args([]), "cpu", [])
    assert not [name for name in vars(args) if name in ("is_training", "ft", "devices")]


@pytest.mark.parametrize("text", ["1", "true", "True", "yes", "Ture"])
def test_words_for_yes(text):
    """`--whole Ture` is in a published command."""
    assert shared.boolean(text) is True


@pytest.mark.parametrize("text", ["0", "false", "False", "no", "None"])
def test_words_for_no(text):
    assert shared.boolean(text) is False


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_each_option_states_its_default_value(program):
    done = subprocess.run([sys.executable, program, "--help"], cwd=ROOT, capture_output=True, text=True)
    options = re.split(r"\n  (?=-)", done.stdout)[1:]
    assert len(options) > 35
    for text in options:
        text = " ".join(text.split())
        assert "default: " in text or text.startswith(("-h", "--restore-from FILE checkpoint of")), text


def test_help_imports_nothing_heavy_and_hides_flags_without_effect():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "--ohem-keep" in done.stdout and "--is-training" not in done.stdout
    for heavy in ("jittor", "numpy", "cv2", "tqdm"):
        assert f" {heavy}\n" not in done.stderr


def test_mixed_precision_without_a_gpu_is_an_error():
    done = subprocess.run(
        [sys.executable, "train.py", "--amp", "--device", "cpu"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.startswith("train.py: --amp float16 needs a GPU")
