"""Which checkpoints stay, by files alone."""

from models.cca import CrissCrossAttention
from utils.training.snapshots import Snapshots
from utils.weights import checkpoint

FRESH = {"step": 0, "source": None, "resumed": False, "meta": {}}


def test_a_checkpoint_by_time_goes_when_the_next_comes_and_others_stay(tmp_path):
    model = CrissCrossAttention(8)
    snapshots = Snapshots(str(tmp_path), 15, 0, FRESH)
    assert not snapshots.due() and not Snapshots(str(tmp_path), 0, 0, FRESH).due()
    left = []
    for step, stays in ((1, False), (2, False), (3, True), (4, False), (5, True)):
        path = snapshots.save(step, model, {"step": step}, {}, stays, best=step == 3)
        assert checkpoint.read(path)[1]["temporary"] is not stays
        left.append(sorted(checkpoint.steps_in(tmp_path)))
    assert left == [[1], [2], [3], [3, 4], [3, 5]] and checkpoint.step_of(tmp_path / "best.npz") == 3
    snapshots.seconds = 1e-9
    assert snapshots.due()


def test_a_resumed_run_replaces_the_checkpoint_by_time_it_started_from_but_not_one_elsewhere(tmp_path):
    model, (here, other) = CrissCrossAttention(8), (tmp_path / "here", tmp_path / "other")
    for folder in (here, other):
        folder.mkdir()
        Snapshots(str(folder), 15, 0, FRESH).save(4, model, {"step": 4}, {}, False, False)
    begin = {"step": 4, "source": str(other / "CS_scenes_4.npz"), "resumed": True, "meta": {"temporary": True}}
    Snapshots(str(here), 15, 0, begin).save(5, model, {"step": 5}, {}, True, False)
    assert sorted(checkpoint.steps_in(here)) == [4, 5] and sorted(checkpoint.steps_in(other)) == [4]
    begin["source"] = f"{here}/../here/CS_scenes_4.npz"
    Snapshots(str(here), 15, 0, begin).save(6, model, {"step": 6}, {}, True, False)
    assert sorted(checkpoint.steps_in(here)) == [5, 6]


def test_keep_counts_all_of_them(tmp_path):
    snapshots, model = Snapshots(str(tmp_path), 15, 2, FRESH), CrissCrossAttention(8)
    for step, stays in ((1, True), (2, True), (3, False), (4, False), (5, True)):
        snapshots.save(step, model, {"step": step}, {}, stays, False)
    assert sorted(checkpoint.steps_in(tmp_path)) == [2, 5]
