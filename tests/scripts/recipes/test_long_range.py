"""scripts/recipes/long_range.py: its table, the cost of a step, and what it refuses."""

import numpy as np
import pytest

from scripts.recipes import long_range, long_range_figure


def results():
    run = {"cross": 1.0, "anywhere": 0.3333, "gamma": -1.5, "without": 0.34}
    other = {**run, "anywhere": 0.35, "attention": {"cross": 0.9, "anywhere": 0.0}}
    return {"r0": {1: run}, "r1": {1: {**run, "attention": {"cross": 0.8, "anywhere": 0.0}}, 2: other}}


def test_the_table_has_ranges_over_the_seeds_and_the_costs():
    lines = long_range.table(results(), {"r0": [{"ms": 10.4, "mb": 3.2}] * 2}).splitlines()
    assert lines[0].endswith("| step, 16 of 65x65 | step, 1 of 257x257 |") and len(lines) == 4
    assert lines[2] == "| no attention (R = 0) | 100.0 | 33.3 | -1.50 | 34.0 |  |  | 10 ms, 3 MB | 10 ms, 3 MB |"
    assert lines[3] == "| criss-cross, R = 1 | 100.0 | 33.3 to 35.0 | -1.50, -1.50 | 34.0 | 80.0 to 90.0 | 0.0 |"
    assert "step" not in long_range.table(results(), {})


def test_a_folder_without_runs_is_an_error(tmp_path):
    (tmp_path / "r2_s1").mkdir()
    (tmp_path / "other_s1").mkdir()
    with pytest.raises(FileNotFoundError, match="scripts/recipes/long_range.sh writes them"):
        long_range.checkpoints(tmp_path)


def test_networks_and_seeds_are_in_order(tmp_path, monkeypatch):
    from utils.weights import checkpoint

    monkeypatch.setattr(checkpoint, "newest", lambda folder: folder)
    for name in ("r2_s10", "r2_s9", "non_local_s1", "r0_s1", "notes"):
        (tmp_path / name).mkdir()
    paths = long_range.checkpoints(tmp_path)
    assert list(paths) == ["r0", "r2", "non_local"] and list(paths["r2"]) == [9, 10]


def test_the_cost_of_a_step_is_measured():
    cost = long_range.step_cost("non_local", 65, 1)
    assert cost["ms"] > 0 and cost["mb"] >= 0


def test_curves_are_means_of_absolute_values(tmp_path):
    for number, sign in enumerate((1, -1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "log.csv").write_text(f"step,gamma\n1,0\n2,{sign * (number + 1)}\n")
    paths = {number: str(tmp_path / str(number) / "CS_scenes_2.npz") for number in (0, 1)}
    steps, values = long_range_figure.mean_curve(paths, "log.csv", "gamma")
    assert steps == [1, 2] and values.tolist() == [0, 1.5]


def test_the_mask_of_a_beacon_and_the_maps_of_its_region():
    from models import build_model
    from models.tables import CAFFE_BGR

    model = build_model("ccnet_shallow", 3, 2)
    meta = {"data": {"scene_size": [65, 65]}, "normalisation": CAFFE_BGR}
    image, entry, maps, near = long_range_figure.beacon_maps(model, meta, "anywhere", 2)
    assert image.shape == (65, 65, 3) and [m.shape for m in maps] == [(17, 17)] * 2
    assert all(abs(m.sum() - 1) < 1e-5 for m in maps) and len(entry["paths"]) == 2
    assert maps[0][near].sum() == 0 and maps[1][near].sum() > 0 and 9 <= near.sum() <= 25
    y, x = 4 * np.argwhere(near).mean(0).astype(int)
    assert np.ptp(image[y, x].astype(int)) > 80  # its cells are on a coloured disc
