"""scores.py and gallery.py: what an evaluation counts and keeps, and the files it writes."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from datasets.cityscapes import Cityscapes
from utils.evaluation.boundary import BoundaryScore
from utils.evaluation.gallery import Gallery
from utils.evaluation.instances import InstanceScore
from utils.evaluation.scores import Scores

NAMES = [f"class {k}" for k in range(19)]


@pytest.fixture
def scored(rng):
    """Three images, the middle one all void."""
    instance = InstanceScore(Cityscapes.instance_sizes, Cityscapes.ids, Cityscapes.categories)
    scores = Scores(NAMES, 255, 3, Cityscapes.categories, instance, BoundaryScore(19, fraction=0.05))
    for number in range(3):
        label = np.kron(rng.choice([0, 2, 8, 11, 13, 255], (3, 4)), np.ones((8, 8), int)).astype(np.uint8)
        if number == 1:
            label[:] = 255
        prediction = np.where(rng.random(label.shape) < 0.8, label, 2).astype(np.uint8)
        ids = np.append(np.uint8(Cityscapes.ids), np.zeros(237, int))[label]
        scores.update(number, label, prediction, np.where(np.isin(label, [11, 13]), ids * 1000 + 1, ids))
    return scores


def test_the_result_has_every_score_and_is_json(scored):
    result = json.loads(json.dumps(scored.result()))
    matrix = scored.matrix
    assert result["miou"] == matrix.miou and result["classes_counted"] == np.isfinite(matrix.iou).sum() < 19
    assert result["miou_absent_as_zero"] == pytest.approx(np.nan_to_num(matrix.iou).sum() / 19)
    assert result["miou_absent_as_zero"] < result["miou"]
    assert result["iou"]["class 1"] is None and result["pixels"]["class 1"] == 0
    assert set(result["category_iou"]) == set(Cityscapes.categories) and result["category_iou"]["sky"] is None
    assert set(result["iiou"]) == {NAMES[k] for k in range(11, 19)} and 0 < result["iiou"]["class 11"] < 1
    assert set(result["category_iiou"]) == {"human", "vehicle"} and 0 < result["boundary_miou"] < 1
    assert 0 < result["boundary_f_score"] <= 1


def test_the_table_shows_them(scored):
    text = scored.table()
    lines = {line.split("  ")[0]: line.split() for line in text.splitlines()}
    assert text.splitlines()[0].split() == ["class", "IoU", "acc", "pixels", "count", "iIoU", "bIoU", "bF"]
    assert len(lines["human"]) == 3 and len(lines["flat"]) == 2 and len(lines["mean"]) == 3
    assert lines["class 0"][-3] == "-" and lines["class 11"][-3] != "-"
    assert "absent classes counted 0" in text and not any(line.endswith(" ") for line in text.splitlines())


def test_images_are_listed_best_first_and_void_ones_last(scored, tmp_path):
    samples = ["a", "b", "c"]
    scored.write_tables(tmp_path, samples)
    rows = list(csv.DictReader(open(tmp_path / "per_image.csv")))
    assert rows[-1]["name"] == "b" and rows[-1]["miou"] == "" and rows[-1]["pixels"] == "0"
    assert float(rows[0]["miou"]) >= float(rows[1]["miou"])
    table = list(csv.reader(open(tmp_path / "confusion.csv")))
    assert table[0][1:] == [*NAMES, "no class"]
    np.testing.assert_array_equal([[int(x) for x in row[1:]] for row in table[1:]], scored.matrix.counts)
    assert not list(tmp_path.glob("*.part"))


def test_an_image_that_is_left_out_is_not_the_worst(scored):
    scored.leave_out(0)
    assert scored.ranking()[0] == 2 and scored.left_out.tolist() == [1] and scored.per_image[0, 2] == 0


def test_ranks_add_up_to_one(scored, rng):
    want = scored.result()
    scored.reduce(lambda array: array)
    assert scored.result() == want


def test_the_gallery_keeps_the_best_and_the_worst(tmp_path):
    gallery = Gallery(2, [(255, 0, 0), (0, 255, 0)], 255)
    label = np.zeros((6, 8), np.uint8)
    label[0] = 255
    scores = [0.5, 0.9, float("nan"), 0.1, 0.7, 0.3]
    for number, score in enumerate(scores):
        gallery.offer(number, score, np.full((6, 8, 3), number, np.uint8), label, np.ones((6, 8), np.uint8))
    ranking = [1, 4, 0, 5, 3]
    assert sorted(gallery.write(tmp_path / "examples", ranking)) == [
        "best_1.png", "best_2.png", "worst_1.png", "worst_2.png",
    ]  # fmt: skip
    strip = np.asarray(Image.open(tmp_path / "examples" / "worst_1.png"))
    assert strip.shape == (6, 4 * 8, 3) and strip[3, 3].tolist() == [3, 3, 3]  # image 3
    truth, prediction, errors = strip[:, 8:16], strip[:, 16:24], strip[:, 24:]
    assert truth[3, 3].tolist() == [255, 0, 0] and prediction[3, 3].tolist() == [0, 255, 0]
    assert (
        (errors[1:] == (200, 30, 40)).all() and not truth[0].any() and not prediction[0].any() and not errors[0].any()
    )


def test_a_rank_writes_only_what_is_among_the_best_of_all(tmp_path):
    gallery = Gallery(1, [(0, 0, 0)], 255)
    label = np.zeros((4, 4), np.uint8)
    gallery.offer(7, 0.5, np.zeros((4, 4, 3), np.uint8), label, label)
    assert gallery.write(tmp_path, [2, 7, 5]) == []
    assert gallery.write(tmp_path, [2, 5, 7]) == ["worst_1.png"]
