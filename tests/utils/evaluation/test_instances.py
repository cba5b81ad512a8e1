"""Class, category and instance IoU of the Cityscapes benchmark: against the rule written out, and the official tool."""

import numpy as np
import pytest
from PIL import Image
from support.cityscapes_tool import NAMES, run_official

from utils.evaluation.confusion import ConfusionMatrix
from utils.evaluation.instances import InstanceScore

IDS = np.array([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33])
TRAIN = np.full(256, 255, np.uint8)
TRAIN[IDS] = np.arange(19)
CATEGORIES = {"flat": (0, 1), "construction": (2, 3, 4), "object": (5, 6, 7), "nature": (8, 9), "sky": (10,)}
THINGS = {"human": (11, 12), "vehicle": (13, 14, 15, 16, 17, 18)}
CATEGORIES.update(THINGS)
SIZES = {11: 3462.4756337644, 12: 3930.4788056518, 13: 12794.0202738185, 14: 27855.1264367816}
SIZES.update({15: 35732.1511111111, 16: 67583.7075812274, 17: 6298.7200839748, 18: 4672.3249222261})


def sample(rng, content, size=(40, 70)):
    """Blocks of label ids with instances on them, and a prediction (train ids, 255 for none) that is often right."""
    cells = (size[0] // 10, size[1] // 10)
    pool = {"ordinary": [*range(34)], "few": [7, 8, 24, 25, 26, 29, 3], "void": [0, 1, 3, 4]}[content]
    ids = np.kron(rng.choice(pool, cells), np.ones((10, 10), int)).astype(np.uint8)
    number = np.kron(np.arange(cells[0] * cells[1]).reshape(cells), np.ones((10, 10), int))
    things = np.isin(ids, [24, 25, 26, 27, 28, 29, 30, 31, 32, 33]) & (
        rng.random(cells).repeat(10, 0).repeat(10, 1) < 0.8
    )
    instances = np.where(things, ids.astype(np.int32) * 1000 + number % 7, ids)  # the others are groups
    wrong = rng.choice([*range(19), 255], size)
    prediction = np.where(rng.random(size) < 0.6, TRAIN[ids], wrong).astype(np.uint8)
    if content == "few":
        prediction[: size[0] // 2] = 255  # half of it is outside the classes
    return ids, instances.astype(np.uint16), prediction


def ours(samples):
    matrix, instance = ConfusionMatrix(19), InstanceScore(SIZES, IDS, CATEGORIES)
    for ids, instances, prediction in samples:
        matrix.update(TRAIN[ids], prediction)
        instance.update(prediction, instances)
    return matrix, instance


@pytest.fixture(params=["ordinary", "few", "void", "mixed"])
def samples(request, rng):
    contents = ["ordinary", "few", "void"] if request.param == "mixed" else [request.param] * 2
    return [sample(rng, content) for content in contents]


def test_instance_iou_by_the_rule_written_out(samples):
    matrix, instance = ours(samples)
    for k, size in SIZES.items():
        hit = missed = false = 0.0
        for ids, instances, prediction in samples:
            valid = TRAIN[ids] != 255
            false += (valid & (TRAIN[ids] != k) & (prediction == k)).sum()
            for value in np.unique(instances[instances // 1000 == IDS[k]]):
                mask = instances == value
                weight = size / mask.sum()
                hit += weight * (prediction[mask] == k).sum()
                missed += weight * (prediction[mask] != k).sum()
        want = hit / (hit + missed + false) if hit + missed + false else np.nan
        np.testing.assert_allclose(instance.classes(matrix.counts)[k], want, rtol=1e-12)
    assert np.isnan(instance.classes(matrix.counts)[:11]).all()


def test_ranks_add_up(samples):
    _, whole = ours(samples)
    parts = [ours([one])[1] for one in samples]
    np.testing.assert_allclose(whole.hit, sum(part.hit for part in parts), rtol=1e-13)
    np.testing.assert_allclose(whole.missed, sum(part.missed for part in parts), rtol=1e-13)


def test_everything_equals_the_official_tool(samples, tmp_path, run_command):
    """The official command on files: label ids, instance ids, our predictions as ids (no class as 0, unlabelled)."""
    pytest.importorskip("cityscapesscripts.helpers.csHelpers", reason="cityscapesscripts is a dev requirement")
    for number, (ids, instances, prediction) in enumerate(samples):
        stem = f"berlin_{number:06d}_000019"
        for folder, name, values in (
            ("data/gtFine/val/berlin", f"{stem}_gtFine_labelIds.png", ids),
            ("data/gtFine/val/berlin", f"{stem}_gtFine_instanceIds.png", instances),
            ("results", f"{stem}_pred.png", np.append(IDS, np.zeros(237, int))[prediction].astype(np.uint8)),
        ):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / name)
    official = run_official(run_command, tmp_path / "data", tmp_path / "results", tmp_path)
    matrix, instance = ours(samples)

    def same(ours, theirs):
        theirs = np.nan if theirs is None else float(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)

    iiou, iiou_categories = instance.classes(matrix.counts), instance.categories(matrix.counts)
    for k, name in enumerate(NAMES):
        same(matrix.iou[k], official["classScores"][name])
        same(iiou[k], official["classInstScores"][name])
    for name, value in matrix.category_iou(CATEGORIES).items():
        same(value, official["categoryScores"][name])
    for name, value in iiou_categories.items():
        same(value, official["categoryInstScores"][name])
    same(matrix.miou, official["averageScoreClasses"])
    same(np.nanmean(iiou) if np.isfinite(iiou).any() else np.nan, official["averageScoreInstClasses"])
    values = list(matrix.category_iou(CATEGORIES).values())
    same(np.nanmean(values) if np.isfinite(values).any() else np.nan, official["averageScoreCategories"])
