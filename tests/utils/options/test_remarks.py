"""The lines that a run prints about flags without effect, or with another meaning than in the official code."""

import shlex
import sys

import pytest

import evaluate
import train
from utils.options import evaluate as eval_options
from utils.options import train as train_options

OHEM = "--ohem-keep {} counts over the whole batch, on any number of GPUs; the official code counts on each GPU, "
OHEM += "and its 100000 on each of 4 GPUs are 400000 here"


def test_flags_with_another_meaning_than_in_the_official_code_are_reported(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    lines = train_options.remarks(train.parse_args("--ohem --gpu 0,1,2,3".split()), "cpu", [])
    assert any("--gpu 0,1,2,3 has no effect under mpirun" in line for line in lines)


@pytest.mark.parametrize("ranks", ["1", "2", "4"])
def test_the_remark_about_ohem_keep_is_the_same_for_any_number_of_ranks(monkeypatch, ranks):
    """And the recipe has that number: scripts/recipes/train_cityscapes.sh."""
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", ranks)
    (line,) = train_options.remarks(train.parse_args("--ohem --ohem-keep 400000".split()), "cpu", [])
    assert line == OHEM.format(400000)


@pytest.mark.parametrize(
    "line, words",
    [
        ("--ohem-keep 100", "--ohem-keep has no effect without --ohem"),
        ("--ohem-thres=0.7", "--ohem-thres has no effect without --ohem"),
        ("--optimizer adamw --momentum 0.8", "--momentum has no effect with --optimizer adamw"),
        ("--eval-images 3", "--eval-images has no effect without --eval-every"),
        ("--eval-overlap 0.5", "--eval-overlap has no effect without --eval-input-size"),
        ("--eval-long-side 9", "--eval-long-side has no effect without --eval-short-side"),
        ("--source plain", "--source has no effect without --restore-from"),
        ("--random-scale --scale-range 0.5,2", "--scale-range replaces the scales of --random-scale"),
    ],
)
def test_a_flag_that_another_one_makes_useless_is_reported(line, words):
    assert train_options.remarks(train.parse_args(line.split()), "cpu", line.split()) == [words]
    useful = "--ohem --ohem-keep 9 --momentum 0.8 --eval-every 5 --eval-images 3 --restore-from f --source plain"
    assert train_options.remarks(train.parse_args(useful.split()), "cpu", useful.split()) == [OHEM.format(9)]


@pytest.mark.parametrize("options, module", [(train, train_options), (evaluate, eval_options)])
def test_the_workspace_of_cudnn(options, module, capsys):
    """A part of the GPU's memory, which has no effect on the CPU."""
    line = "--cudnn-workspace 0.1 --restore-from x.npz".split()
    args = options.parse_args(line)
    assert args.cudnn_workspace == 0.1 and options.parse_args(line[2:]).cudnn_workspace == 0.03
    text = "--cudnn-workspace has no effect on the CPU"
    assert text in module.remarks(args, "cpu", line) and text not in module.remarks(args, "cuda", line)
    assert text not in module.remarks(args, "cpu", line[2:])
    for wrong in ("1.5", "-1", "much"):
        with pytest.raises(SystemExit):
            options.parse_args(["--cudnn-workspace", wrong, *line[2:]])
        assert f"'{wrong}': expected a part of the GPU's memory from 0 to 1" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_several_gpus_in_one_process_print_the_mpirun_command(device, monkeypatch):
    line = "--data-dir 'my data' --gpu 0,2 --device auto --batch-size 4 --ohem 1"
    monkeypatch.setattr(sys, "argv", ["train.py", *shlex.split(line)])
    lines = train_options.remarks(train.parse_args(), device)
    (command,) = [text.split(": ", 1)[1] for text in lines if "mpirun" in text]
    assert ("--gpu 0,2 has no effect on the CPU" in lines) == (device == "cpu")
    words = shlex.split(command)
    at = words.index("train.py")
    assert words[:3] == ["mpirun", "-np", "2"] and "CUDA_VISIBLE_DEVICES=0,2" in words[:at]
    assert words[at + 1 :] == ["--data-dir", "my data", "--batch-size", "4", "--ohem", "1"]
    assert len(train_options.remarks(train.parse_args(["--gpu", "0"]), "cuda", [])) == 0
    uneven = train_options.remarks(train.parse_args("--gpu 0,1,2 --batch-size 4".split()), device, [])
    assert "--batch-size 4 is that of all GPUs together: it must be a multiple of 3" in uneven


def test_several_gpus_in_evaluation_and_in_a_program_without_mpirun(monkeypatch):
    import evaluate

    line = "--restore-from a.npz --gpu 0,1 --whole"
    args = evaluate.parse_args(line.split())
    (text,) = eval_options.remarks(args, "cuda", line.split())
    assert "mpirun -np 2" in text and text.endswith("--restore-from a.npz --whole")
    assert eval_options.remarks(args, "cuda", [], parallel=False) == [
        "--gpu 0,1 names 2 GPUs; this program is one process and uses the first"
    ]
    assert eval_options.remarks(args, "cpu", [], parallel=False) == ["--gpu 0,1 has no effect on the CPU"]
