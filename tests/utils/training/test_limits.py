"""Errors and warnings about crop sizes before the first step."""

import pytest

from datasets.transforms import CITYSCAPES_SCALES, Scale
from utils.training import limits


def test_impossible_crops_are_errors_and_published_ones_are_not():
    for size, samples, classes in (((769, 769), 8, 19), ((512, 512), 16, 151), ((8, 8), 1, 2), ((1024, 2048), 4, 19)):
        limits.check_crop(size, samples, classes)
    with pytest.raises(ValueError, match="--input-size 7,64 is too small; expected at least 8 pixels"):
        limits.check_crop((7, 64), 4, 9)
    with pytest.raises(ValueError, match="100000,100000 is too large: 1 crops .* indexes at most 2.1e[+]09"):
        limits.check_crop((100000, 100000), 1, 9)
    limits.check_crop((2048, 2048), 8, 19)
    with pytest.raises(ValueError, match="--accumulate"):
        limits.check_crop((2048, 2048), 8, 171)
    limits.check_crop((769, 769), 8, 19, frames=5)
    with pytest.raises(ValueError, match="120 crops of it at once .*, fewer --frames"):
        limits.check_crop((769, 769), 24, 19, frames=5)


def test_ohem_without_effect_is_reported_exactly_where_it_has_none(rng):
    """The line appears where models.losses.ohem_label keeps every pixel."""
    import jittor as jt

    from models.losses import ohem_label

    logits = jt.array(rng.standard_normal((2, 3, 32, 48)).astype("float32") * 4)
    label = rng.integers(0, 3, (2, 32, 48)).astype("int32")
    for keep in (0, 64, 2 * 4 * 6 * 64 - 1, 2 * 4 * 6 * 64, 200000):
        kept = (ohem_label(logits, jt.array(label), 255, 0.3, keep).numpy() != 255).all()
        lines = limits.useless_ohem(keep, 2, (32, 48))
        assert bool(lines) == bool(kept), keep
    assert lines[0].startswith("--ohem-keep 200000 is not below the 3072 pixels")


def test_a_crop_larger_than_every_image_is_reported_with_the_share_of_padding():
    assert limits.padded_crops((64, 64), [(48, 80), (64, 64)]) == []
    assert limits.padded_crops((64, 64), []) == []
    assert limits.padded_crops((64, 64), [(31, 40)], Scale(CITYSCAPES_SCALES)) == []  # 2.1 times
    (line,) = limits.padded_crops((128, 100), [(16, 16), (32, 50)])
    assert "128,100 is larger than every training image that was read (2; the largest is 32x50)" in line
    assert "at least 88% of every crop is padding" in line  # 1 - 32/128 * 50/100
    (line,) = limits.padded_crops((769, 769), [(128, 256)], Scale(CITYSCAPES_SCALES))
    assert "scaled up to 2.1 times" in line


def test_the_largest_factor_is_reached(rng):
    for scale in (Scale((0.5, 2.0)), Scale(span=(0.5, 1.5)), Scale((1, 2), sides=(20, 40), longest=70)):
        drawn = [scale(30, 50, rng) for _ in range(300)]
        assert max(drawn) <= limits.most(scale, 30, 50) + 1e-9 and limits.most(scale, 30, 50) < 1.02 * max(drawn)
