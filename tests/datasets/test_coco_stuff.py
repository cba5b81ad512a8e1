"""COCO-Stuff: the folder names of its releases."""

from datasets import build_dataset


def test_coco_in_the_folders_of_the_stuffthingmaps(roots, tmp_path):
    (tmp_path / "stuffthingmaps").symlink_to(roots["coco_stuff"] / "annotations")
    (tmp_path / "images").symlink_to(roots["coco_stuff"] / "images")
    a, b = (build_dataset("coco_stuff", "val", folder) for folder in (tmp_path, roots["coco_stuff"]))
    assert (a.read(0)[1] == b.read(0)[1]).all()
