"""Which frames a clip has: in a folder of frames, and in a video whose end is not known in advance."""

import numpy as np
import pytest

from datasets import build_dataset, clips


def test_the_frames_of_a_folder_are_a_sequence_in_the_order_of_their_numbers():
    names = ["f8.png", "f9.png", "f10.png", "f11.png", "photo.jpg", "g/f9.png", "f30.png"]
    result = clips.of_files([f"a/{name}" for name in names], 3)
    assert result["a/f9.png"] == ["a/f8.png", "a/f9.png", "a/f10.png"]  # 9 is before 10
    assert result["a/f8.png"] == ["a/f8.png", "a/f8.png", "a/f9.png"]
    assert result["a/f11.png"] == ["a/f10.png", "a/f11.png", "a/f11.png"]  # a gap before 30
    for alone in ("a/photo.jpg", "a/g/f9.png", "a/f30.png"):
        assert result[alone] == [alone] * 3
    of_cityscapes = [f"b/x_{number}_leftImg8bit.png" for number in (1, 2)]
    assert clips.of_files(of_cityscapes, 3)[of_cityscapes[0]] == [*of_cityscapes[:1] * 2, of_cityscapes[1]]


def test_a_folder_has_the_clips_of_the_loader(roots):
    data = build_dataset("camvid", "train", roots["segnet"], frames=5, frame_stride=2)
    paths = [image for image, _ in data.pairs]
    expected = {path: [paths[number] for number in data.clip(index)] for index, path in enumerate(paths)}
    assert clips.of_files(paths[::-1], 5, 2) == expected


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("frames, stride", [(1, 1), (3, 1), (3, 2), (5, 3)])
def test_a_video_has_the_clips_of_a_sequence(count, frames, stride):
    images = [np.full((2, 3, 3), number, np.uint8) for number in range(count)]
    result = list(clips.sliding(iter(images), frames, stride))
    assert len(result) == count
    for place, clip in enumerate(result):
        np.testing.assert_array_equal(clip, np.stack(clips.around(images, place, frames, stride)))


def test_a_clip_of_a_video_needs_no_frame_after_its_last_one():
    taken = []
    images = (taken.append(number) or np.zeros((1, 1, 3), np.uint8) for number in range(100))
    next(clips.sliding(images, 5, 3))
    assert len(taken) == 7  # the frame itself and 2 * 3 after it
