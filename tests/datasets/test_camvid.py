"""CamVid: 32 classes and clips."""

import numpy as np
import pytest
from PIL import Image
from support.scene_roots import COUNT, SEED, SIZE

from datasets import build_dataset, camvid, training_data
from datasets.scenes import folders
from datasets.scenes.dataset import IGNORE, NAMES, draw_scene


def test_camvid_in_32_colours(roots):
    data = build_dataset("camvid", "val", roots["camvid"], num_classes=32)
    assert len(data.names) == 32 and data.names[17] == "Road" and data.palette[17] == (128, 64, 128)
    label, scene = data.read(0)[1], draw_scene(SEED, COUNT, *SIZE)[1]
    assert (label[scene == NAMES.index("road")] == 17).all() and (label[scene == IGNORE] == 255).all()
    with pytest.raises(ValueError, match="labels of 11 classes; 32 need the original"):
        build_dataset("camvid", "val", roots["segnet"], num_classes=32)
    with pytest.raises(ValueError, match="11 or 32 classes, not 19"):
        build_dataset("camvid", "val", roots["camvid"], num_classes=19)


def test_camvid_clips_stay_within_a_stretch_of_their_sequence(tmp_path):
    for number in (930, 960, 990, 1020, 3000, 3030):  # a gap
        stem = f"0006R0_f{number:05d}"
        value = np.full((4, 6), number % 7, np.uint8)
        folders.write(tmp_path / "train" / f"{stem}.png", Image.fromarray(np.repeat(value[:, :, None], 3, 2)))
        folders.write(tmp_path / "trainannot" / f"{stem}.png", Image.fromarray(value))
    data = build_dataset("camvid", "train", tmp_path, frames=3)
    assert [data.clip(k) for k in range(6)] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3], [4, 4, 5], [4, 5, 5]]
    image, label = data.read(1)
    assert image.shape == (3, 4, 6, 3) and label.shape == (4, 6) and (label == 960 % 7).all()
    assert [int(frame[0, 0, 0]) for frame in image] == [930 % 7, 960 % 7, 990 % 7]
    data = build_dataset("camvid", "train", tmp_path, frames=3, frame_stride=2)
    assert data.clip(2) == [0, 2, 3]
    for cache in ("off", "ram"):
        options = {"frames": 3, "frame_stride": 1, "batch_size": 2, "cache": cache}
        batch = next(training_data("camvid", "train", (4, 4), data_dir=tmp_path, **options).forever())
        assert batch.images.shape == (2, 3, 4, 4, 3) and batch.labels.shape == (2, 4, 4)
        assert (batch.images[:, 1, :, :, 0] == batch.labels).all()  # the middle frame is the labelled one
    assert camvid.segnet_split("0001TP_008520") == "train" and camvid.segnet_split("0001TP_008550") == "test"
    assert camvid.segnet_split("0016E5_07957") == "train" and camvid.segnet_split("0016E5_08159") == "val"


def test_a_clip_needs_a_dataset_of_sequences_and_frames_of_one_size(tmp_path, roots):
    for name in ("folder", "voc"):
        with pytest.raises(ValueError, match=f"clips of 5 frames need a dataset of sequences, .*, and this is {name}"):
            build_dataset(name, "val", roots[name], frames=5)
    with pytest.raises(ValueError, match="this is scenes"):
        build_dataset("scenes", "val", frames=3)
    for number, size in ((930, (6, 4)), (960, (8, 4))):
        for folder, mode in (("train", "RGB"), ("trainannot", "L")):
            folders.write(tmp_path / folder / f"0006R0_f{number:05d}.png", Image.new(mode, size))
    data = build_dataset("camvid", "train", tmp_path, frames=3)
    with pytest.raises(ValueError, match="00930.png and .*00960.png are of one clip and differ in size: 4x6 and 4x8"):
        data.read(0)
