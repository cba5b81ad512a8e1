"""Which checkpoints are kept."""

from models.cca import CrissCrossAttention
from utils.training.snapshots import Snapshots
from utils.weights import checkpoint

NEW_RUN = {"step": 0, "source": None, "resumed": False, "meta": {}}


def test_the_next_checkpoint_replaces_a_temporary_one_and_others_are_kept(tmp_path):
    model = CrissCrossAttention(8)
    snapshots = Snapshots(str(tmp_path), 15, 0, NEW_RUN)
    assert not snapshots.due() and not Snapshots(str(tmp_path), 0, 0, NEW_RUN).due()
    steps = []
    for step, keep in ((1, False), (2, False), (3, True), (4, False), (5, True)):
        path = snapshots.save(step, model, {"step": step}, {}, keep, best=step == 3)
        assert checkpoint.read(path)[1]["temporary"] is not keep
        steps.append(sorted(checkpoint.steps_in(tmp_path)))
    assert steps == [[1], [2], [3], [3, 4], [3, 5]] and checkpoint.step_of(tmp_path / "best.npz") == 3
    snapshots.seconds = 1e-9
    assert snapshots.due()


def test_a_resumed_run_replaces_its_temporary_checkpoint_but_not_one_in_another_folder(tmp_path):
    model, (here, other) = CrissCrossAttention(8), (tmp_path / "here", tmp_path / "other")
    for folder in (here, other):
        folder.mkdir()
        Snapshots(str(folder), 15, 0, NEW_RUN).save(4, model, {"step": 4}, {}, False, False)
    begin = {"step": 4, "source": str(other / "CS_scenes_4.npz"), "resumed": True, "meta": {"temporary": True}}
    Snapshots(str(here), 15, 0, begin).save(5, model, {"step": 5}, {}, True, False)
    assert sorted(checkpoint.steps_in(here)) == [4, 5] and sorted(checkpoint.steps_in(other)) == [4]
    begin["source"] = f"{here}/../here/CS_scenes_4.npz"
    Snapshots(str(here), 15, 0, begin).save(6, model, {"step": 6}, {}, True, False)
    assert sorted(checkpoint.steps_in(here)) == [5, 6]


def test_two_temporary_checkpoints_of_a_run_killed_between_them_are_replaced(tmp_path):
    model = CrissCrossAttention(8)
    for step, keep in ((5, True), (7, False), (8, False)):
        Snapshots(str(tmp_path), 15, 0, NEW_RUN).save(step, model, {"step": step}, {}, keep, False)
    assert sorted(checkpoint.steps_in(tmp_path)) == [5, 7, 8]
    begin = {"step": 8, "source": str(tmp_path / "CS_scenes_8.npz"), "resumed": True, "meta": {"temporary": True}}
    Snapshots(str(tmp_path), 15, 0, begin).save(10, model, {"step": 10}, {}, True, False)
    assert sorted(checkpoint.steps_in(tmp_path)) == [5, 10]


def test_keep_last_counts_temporary_checkpoints_as_well(tmp_path):
    snapshots, model = Snapshots(str(tmp_path), 15, 2, NEW_RUN), CrissCrossAttention(8)
    for step, keep in ((1, True), (2, True), (3, False), (4, False), (5, True)):
        snapshots.save(step, model, {"step": step}, {}, keep, False)
    assert sorted(checkpoint.steps_in(tmp_path)) == [2, 5]
