"""scripts/recipes/run_ccnet.py: command lines of mmsegmentation."""

import pytest

import train
from scripts.recipes import run_ccnet


def test_an_mmsegmentation_command_is_translated():
    """A command of a model zoo; the config file need not exist."""
    line = "--config ../configs/ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py --launcher pytorch"
    line += " --nproc-per-node 4 --amp"
    line += " --cfg-options train_dataloader.dataset.data_root=D val_dataloader.dataset.data_root=D"
    flags, ranks = translated(line)
    assert ranks == 4
    args = train.parse_args(flags)
    assert (args.model, args.batch_size, args.num_steps, args.input_size) == ("ccnet_mmseg_r50", 8, 40000, (512, 1024))
    assert (args.dataset, args.data_dir, args.amp, args.weight_decay) == ("cityscapes", "D", "float16", 5e-4)
    assert args.restore_from == "./dataset/resnet50_v1c-2cccc1ad.pth" and args.min_learning_rate == 1e-4
    assert (args.align_corners, args.short_side, args.eval_input_size) == (None, None, None)
    flags, ranks = translated("--config ccnet_r101-d8_4xb4-20k_voc12aug-512x512 --work-dir W --seed 3")
    args = train.parse_args(flags)
    assert (args.model, args.split, args.snapshot_dir, args.random_seed) == ("ccnet_mmseg_r101", "trainaug", "W", 3)
    assert (args.short_side, args.long_side, args.eval_short_side) == ((512,), 2048, 512) and args.align_corners is None
    args = train.parse_args(translated("--config ccnet_r101-d8_4xb2-80k_cityscapes-769x769")[0])
    assert args.restore_from == "./dataset/resnet101_v1c-e67eebb6.pth" and args.align_corners is True
    assert (args.eval_input_size, args.eval_short_side, args.eval_long_side) == ((769, 769), 1025, 2049)
    args = train.parse_args(translated("--config ccnet_r50-d8_4xb4-80k_ade20k-512x512 --restore-from a.pth")[0])
    assert args.restore_from == "a.pth"
    assert ranks == 1
    for wrong in ("--config pspnet_r50", "--config ccnet_r50-d8_4xb2-40k_cityscapes-769x769 --cfg-options lr=1"):
        with pytest.raises(ValueError, match="not named as a CCNet config|only ...data_root"):
            translated(wrong)


def test_ranks_without_a_launcher_are_reported():
    line = "--config ccnet_r50-d8_4xb2-40k_cityscapes-512x1024 --nproc-per-node 4 --restore-from a.pth"
    for launcher, count in (("", 1), (" --launcher pytorch", 0)):
        args, others = run_ccnet.parse_args((line + launcher).split())
        _, ranks = run_ccnet.command(args, others)
        lines = run_ccnet.remarks(args)
        assert len(lines) == count and ranks == (1 if count else 4)
        assert all("--nproc-per-node 4 has no effect without --launcher" in line for line in lines)


def translated(line):
    return run_ccnet.command(*run_ccnet.parse_args(line.split()))
