import numpy as np

from utils.training import class_counts

NAMES = ("road", "tree", "car")


def test_all_labels_of_a_small_split_are_read_and_some_of_a_large_one():
    labels = [np.full((4, 6 + index), index % 2, np.uint8) for index in range(10)]
    sizes, pixels = class_counts.sample(labels.__getitem__, 10)
    assert len(sizes) == 10 and sizes[3] == (4, 9) and class_counts.absent(pixels, NAMES) == ["car"]
    indices = []

    def read(index):
        indices.append(index)
        return labels[0]

    sizes, pixels = class_counts.sample(read, 1000)
    assert len(indices) == len(sizes) == 16 and max(indices) > 900 and pixels is None
    assert class_counts.sample(read, 10, seconds=-1) == ([], None)


def test_an_unreadable_label_is_left_out():
    def read(index):
        if index == 1:
            raise ValueError("broken")
        return np.zeros((2, 2), np.uint8)

    sizes, pixels = class_counts.sample(read, 3)
    assert len(sizes) == 2 and pixels is None  # not all of them: no report about classes


def batch(*values):
    return [(None, np.full((1, 2, 2), value, np.int32), None) for value in values]


def test_the_first_epoch_is_counted_once():
    counts = class_counts.FirstEpoch(NAMES, total=6)
    assert counts.add(batch(0, 255), 2) == [] and counts.add(batch(0), 2) == []
    (line,) = counts.add(batch(2), 2)
    assert "no pixel of 1 class in the 6 crops of the first epoch: tree;" in line
    assert counts.add(batch(0), 2) == [] and counts.end() == []


def test_a_short_run_reports_nothing_and_nothing_is_reported_twice():
    counts = class_counts.FirstEpoch(NAMES, total=1000)
    counts.add(batch(0), 4)
    assert counts.end() == []
    counts.add(batch(0), 60)
    assert "2 classes in the 64 crops of this run: tree, car" in counts.end()[0]
    counts = class_counts.FirstEpoch(NAMES, 4, known=["tree", "car"])
    assert counts.add(batch(0), 4) == []
