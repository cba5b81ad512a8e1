"""PASCAL VOC 2012, and `trainaug`: 10582 pictures with the masks of Hariharan et al. (SBD) added.

JPEGImages/<id>.jpg, SegmentationClass/<id>.png (palette pictures: the index is the class, 255 the border) and
ImageSets/Segmentation/<split>.txt. `trainaug` reads SegmentationClassAug/<id>.png, which
scripts/data/prepare_voc_aug.py makes.
"""

from datasets.files import FileDataset
from datasets.reading.image_io import DataError
from datasets.reading.pairs import stem
from datasets.transforms import VOC_SCALES
from models.tables import devkit_palette

NAMES = """
    background; aeroplane; bicycle; bird; boat; bottle; bus; car; cat; chair; cow; diningtable; dog; horse; motorbike;
    person; pottedplant; sheep; sofa; train; tvmonitor
"""
NAMES = tuple(name.strip() for name in NAMES.split(";"))


class VOC(FileDataset):
    title, looks_like = "PASCAL VOC 2012", "JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/"
    inside = ("", "VOC2012", "VOCdevkit/VOC2012")
    names, palette, scales = NAMES, devkit_palette(21), VOC_SCALES
    values = {number: number for number in range(21)}
    splits = ("train", "val", "trainval", "trainaug", "test")
    expected = {"train": 1464, "val": 1449, "trainval": 2913, "trainaug": 10582, "test": 1456}

    @classmethod
    def is_root(cls, folder):
        labels = any((folder / name).is_dir() for name in ("SegmentationClass", "SegmentationClassAug"))
        return labels and (folder / "JPEGImages").is_dir() and (folder / "ImageSets" / "Segmentation").is_dir()

    def pairs_of(self, split):
        lists = self.root / "ImageSets" / "Segmentation"
        path = lists / f"{split}.txt"
        if split == "trainaug" and not path.is_file():
            path = lists / "train_aug.txt"
        if not path.is_file():
            return []
        if self.split == "trainaug" and not (self.root / "SegmentationClassAug").is_dir():
            raise DataError(f"{self.root} has no SegmentationClassAug; make it with scripts/data/prepare_voc_aug.py")
        names = [
            stem(line.split()[0].rsplit("/", 1)[-1])
            for line in path.read_text("utf-8-sig").splitlines()
            if line.strip()
        ]
        folder = "SegmentationClassAug" if split == "trainaug" else "SegmentationClass"
        pairs = [
            (self.picture(name), None if split == "test" else self.root / folder / f"{name}.png") for name in names
        ]
        lost = [str(path) for pair in pairs for path in pair if path is not None and not path.exists()]
        if lost:
            raise DataError(f"{len(lost)} files of {path} are missing: {', '.join(lost[:3])}")
        return pairs

    def picture(self, name):
        return self.root / "JPEGImages" / f"{name}.jpg"
