"""The folder that a printed command runs in: a copy of the project and, under the names in the command, the files that
it reads: datasets of generated scenes, images and a video, a finished run, weights in the published layouts.

`Workshop(folder)` makes each file or folder once and puts it into any number of sandboxes: a file as a hard link (the
programs replace files and do not write into them), a folder as a copy.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZE, COUNT = (64, 128), 3
CITYSCAPES = r"(data/)?(datasets/)?[Cc]ityscapes|CITYSCAPES|YOUR_CS_PATH|data_path|OUT"
WEIGHTS = r"(scripts/recipes/)?(dataset|snapshots)/.*\.pth|[^/]*\.pth(\.tar)?"
PLACES = [  # names that a command may read, and the method that makes them
    (CITYSCAPES, "cityscapes"),
    (r"fast/cityscapes", "packed"),
    (r"YOUR_DATASET_PATH", "datasets"),
    (r"ADEChallengeData2016|VOCdevkit|CAMVID|data/CamVid|data/coco", "layout"),
    (r"data/VOCdevkit/VOC2012|data/benchmark_RELEASE/dataset", "voc_and_sbd"),
    (r"data/tiny/VOCdevkit/.*", "tiny_voc"),
    (r"(.*/)?(street\.png|photo\.jpg|holiday|drive\.mp4)", "media"),
    (r"runs/(demo|scenes)(/CS_scenes_\d+\.npz)?|snapshots/CS_scenes_1.npz", "run"),
    (r"(A|B|runs/a|runs/b)/log\.csv|reference\.csv|port\.csv", "log"),
    (r"machines", "machines"),
    (r"exports/\w+", "exported"),
    (r"data/satellite", "four_bands"),
    (r"\.venv/bin/activate", "environment"),
    (r"\.venv/bin/python", "empty_environment"),
    (r"ccnet\.npz", "converted"),
    (r"YOUR_CHECKPOINT_\w+", "trained_network"),
    (WEIGHTS, "weights"),
]


class Workshop:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def once(self, name, make):
        """The path of `name`, made by make(path) unless it exists in this session; other processes wait for it."""
        path = self.folder / name
        with open(self.folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                part = self.folder / f"making_{name}"
                make(part)
                os.replace(part, path)
        return path

    def sandbox(self, folder, words):
        """A fresh copy of the project in `folder`, with the files that the words of a command name."""
        shutil.copytree(self.once("project", project), folder)
        shutil.rmtree(folder / "models")  # compiled operators are stored by the path of their source
        (folder / "models").symlink_to(ROOT / "models")
        for word in words:
            self.place(folder, word)
        return folder

    def place(self, folder, word):
        target = folder / word
        for pattern, method in PLACES:
            if re.fullmatch(pattern, word):
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    getattr(self, method)(target, word)
                return

    def scenes(self, layout, size=SIZE):
        from datasets.scenes import folders

        root = self.once(layout, lambda path: folders.LAYOUTS[layout](path, COUNT, size, 4))
        return next((p for p in (root / "ADEChallengeData2016", root / "VOCdevkit") if p.is_dir()), root)

    def cityscapes(self, target, _word):
        shutil.copytree(self.scenes("cityscapes"), target)

    def layout(self, target, word):
        layout = {"ADE": "ade20k", "VOC": "voc", "CAM": "camvid", "coc": "coco_stuff"}[
            Path(word).name[:3].replace("Cam", "CAM")
        ]
        shutil.copytree(self.scenes(layout), target)
        if layout == "voc":  # as scripts/data/prepare_voc_aug.py makes it
            lists = target / "VOC2012" / "ImageSets" / "Segmentation"
            shutil.copy(lists / "train.txt", lists / "trainaug.txt")
            shutil.copytree(target / "VOC2012" / "SegmentationClass", target / "VOC2012" / "SegmentationClassAug")

    def datasets(self, target, _word):
        """Several datasets, unpacked into one folder."""
        for layout in ("cityscapes", "ade20k", "voc"):
            root = self.scenes(layout)
            shutil.copytree(root, target / (layout if root.name == layout else root.name))

    def packed(self, target, _word):
        def pack(path):
            python("scripts/data/pack.py", "--data-dir", self.scenes("cityscapes"), "--out", path)

        shutil.copytree(self.once("packed", pack), target)

    def voc_and_sbd(self, target, word):
        import numpy as np
        from support.sbd import mat_file

        if "VOC2012" in word:
            shutil.copytree(self.scenes("voc") / "VOC2012", target)
            return
        (target / "cls").mkdir(parents=True)
        for name, part in (("2007_000000", "train"), ("2007_000003", "val")):
            (target / "cls" / f"{name}.mat").write_bytes(mat_file(np.full(SIZE, 7, np.uint8), True))
            (target / f"{part}.txt").write_text(f"{name}\n")

    def tiny_voc(self, target, word):
        root = self.once(
            "tiny", lambda path: python(*"scripts/data/make_scenes.py --layout voc --count 2 --out".split(), path)
        )
        shutil.copy(root / word[len("data/tiny/") :], target)

    def media(self, target, word):
        import cv2

        from datasets.scenes.dataset import draw_scene

        images = [draw_scene(0, number, *SIZE)[0] for number in range(3)]
        if word.endswith("holiday"):
            target.mkdir()
            for number, image in enumerate(images):
                cv2.imwrite(str(target / f"{number}.jpg"), image)
        elif word.endswith(".mp4"):
            video = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), 5, SIZE[::-1])
            for image in images:
                video.write(image)
            video.release()
        else:
            cv2.imwrite(str(target), cv2.resize(images[0], (480, 240)))

    def finished(self):
        """A run of two steps, with both checkpoints, and its evaluation."""

        def make(path):
            flags = (
                "--model ccnet_r18 --dataset scenes --input-size 65,65 --scene-size 64,128 --batch-size 2 --num-steps 2"
            )
            python("train.py", *flags.split(), "--save-pred-every", "1", "--snapshot-dir", path)
            flags = "--scene-size 64,128 --eval-images 2"
            python("evaluate.py", "--restore-from", path / "CS_scenes_2.npz", "--save-dir", path, *flags.split())

        return self.once("run", make)

    def run(self, target, word):
        """runs/demo and runs/scenes as if trained to the step that the command names."""
        run = self.finished()
        if word.startswith("snapshots"):
            os.link(run / "CS_scenes_1.npz", target)
            return
        folder, file = (target, "CS_scenes_500.npz") if target.suffix == "" else (target.parent, target.name)
        if not (folder / "log.csv").exists():
            shutil.copytree(run, folder, copy_function=os.link, dirs_exist_ok=True)
            (folder / "CS_scenes_1.npz").unlink()
            (folder / "CS_scenes_2.npz").rename(folder / file)

    def log(self, target, _word):
        shutil.copy(self.finished() / "log.csv", target)

    def exported(self, target, word):
        from support import label_exports

        label_exports.write_example(target, Path(word).name)

    def machines(self, target, _word):
        target.write_text("localhost slots=8\n")

    def four_bands(self, target, _word):
        from walks import test_channels

        test_channels.write(target, 4, test_channels.tif)

    def environment(self, target, _word):
        target.parent.rmdir()
        target.parents[1].rmdir()
        target.parents[1].symlink_to(sys.prefix)

    def empty_environment(self, target, _word):
        python("-m", "venv", "--without-pip", target.parents[1])

    def converted(self, target, word):
        def convert(path):
            source = self.folder / "CS_scenes_60000.pth"
            self.once(source.name, lambda part: write_weights(part, source.name))
            python("scripts/convert_weights.py", source, path.with_suffix(".npz"))
            path.with_suffix(".npz").replace(path)

        os.link(self.once("ccnet.npz", convert), target)

    def weights(self, target, word):
        name = Path(word).name
        os.link(self.once(name, lambda part: write_weights(part, name)), target)

    def trained_network(self, target, word):
        """A checkpoint of the training commands of that page: YOUR_CHECKPOINT_<network>_<classes>."""
        network, classes = re.fullmatch(r"YOUR_CHECKPOINT_(\w+)_(\d+)", word).groups()
        made = self.once(word, lambda part: python("-c", TRAINED_NETWORK, network, classes, part))
        os.link(made, target)


TRAINED_NETWORK = """
import sys
from utils import runtime
runtime.start("cpu")
from models.tables import CAFFE_BGR, IMAGENET_RGB
from models import build_model
from utils.weights import checkpoint
name, classes, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
options = {"van_size": "van_large"} if name == "van" else {}
meta = {"model": name, "num_classes": classes, "recurrence": 2, "model_options": options, "step": 60000}
meta.update(ignore_label=0 if classes == 151 else 255, normalisation=IMAGENET_RGB if name == "van" else CAFFE_BGR)
checkpoint.save(path, build_model(name, classes, 2, **options), meta)
"""


def write_weights(path, name):
    """The file `name` as it is published; a page may leave out the date and the checksum of a name."""
    from walks import weight_files

    full = next(full for full in weight_files.PUBLISHED if full.startswith(name.removesuffix(".pth")))
    write, content = weight_files.PUBLISHED[name if name in weight_files.PUBLISHED else full]
    write(path, content())


def python(*words):
    """Run a Python program in the project; an error has its output."""
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))[:300]}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def project(path):
    """A copy of the project as git sees it: tracked files and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
