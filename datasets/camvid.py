"""CamVid: five driving sequences, 701 labelled frames, 11 classes (SegNet's grouping) or the 32 of the original.

Three layouts: the original (701_StillsRaw_full, LabeledApproved_full with colours), SegNet's (train, trainannot, ...;
void is 11) and images/<split>, labels/<split> (void is 255). With `frames=T`, the image of a sample is a clip
(T, H, W, 3): the labelled frame and its neighbours among the frames of the split, `stride` apart (clips.py).
"""

import re

from datasets import clips
from datasets.files import FileDataset, hex_palette
from datasets.reading.image_io import DataError
from datasets.reading.label_io import ColourMap
from datasets.reading.pairs import stem

NAMES = tuple("Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist".split())
PALETTE = hex_palette("808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000 0080c0")
ORIGINAL = (  # name, colour in the label images, class of the 11
    ("Animal", "408040", 9),
    ("Archway", "c00080", 1),
    ("Bicyclist", "0080c0", 10),
    ("Bridge", "008040", 1),
    ("Building", "800000", 1),
    ("Car", "400080", 8),
    ("CartLuggagePram", "4000c0", 9),
    ("Child", "c08040", 9),
    ("Column_Pole", "c0c080", 2),
    ("Fence", "404080", 7),
    ("LaneMkgsDriv", "8000c0", 3),
    ("LaneMkgsNonDriv", "c00040", 3),
    ("Misc_Text", "808040", 6),
    ("MotorcycleScooter", "c000c0", 10),
    ("OtherMoving", "804040", 8),
    ("ParkingBlock", "40c080", 4),
    ("Pedestrian", "404000", 9),
    ("Road", "804080", 3),
    ("RoadShoulder", "8080c0", 4),
    ("Sidewalk", "0000c0", 4),
    ("SignSymbol", "c08080", 6),
    ("Sky", "808080", 0),
    ("SUVPickupTruck", "4080c0", 8),
    ("TrafficCone", "000040", 2),
    ("TrafficLight", "004040", 6),
    ("Train", "c04080", 8),
    ("Tree", "808000", 5),
    ("Truck_Bus", "c080c0", 8),
    ("Tunnel", "400040", 1),
    ("VegetationMisc", "c0c000", 5),
    ("Void", "000000", None),
    ("Wall", "40c000", 1),
)
FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")


class CamVid(FileDataset):
    title = "CamVid"
    looks_like = (
        "701_StillsRaw_full/ and LabeledApproved_full/, or train/ and trainannot/, or images/train/ of its frames"
    )
    inside = ("", "CamVid")
    names, palette, splits = NAMES, PALETTE, ("train", "val", "trainval", "test")
    expected = {"train": 367, "val": 101, "trainval": 468, "test": 233}

    def __init__(self, *arguments, frames=1, stride=1, **options):
        super().__init__(*arguments, **options)
        self.frames, self.stride = frames, stride
        if frames > 1:
            self.stretches = {number: stretch for stretch in self.sequences() for number in stretch}

    @classmethod
    def is_root(cls, folder):
        if (folder / "701_StillsRaw_full").is_dir() and (folder / "LabeledApproved_full").is_dir():
            return True
        for images, labels in (("train", "trainannot"), ("images/train", "labels/train"), ("images/val", "labels/val")):
            if (folder / images).is_dir() and (folder / labels).is_dir():
                first = next((path for path in (folder / images).iterdir() if path.name[0] != "."), None)
                if first is not None and FRAME.match(first.name):
                    return True
        return False

    def choose_classes(self, num_classes):
        grouped = {number: group for number, (_, _, group) in enumerate(ORIGINAL)}
        self.original = (self.root / "LabeledApproved_full").is_dir()
        if self.original:
            self.colours = ColourMap(hex_palette(" ".join(colour for _, colour, _ in ORIGINAL)))
        if num_classes == 32:
            if not self.original:
                raise ValueError(f"{self.root} has labels of 11 classes; 32 need the original LabeledApproved_full")
            self.names, self.palette = tuple(name for name, _, _ in ORIGINAL), tuple(self.colours.palette)
            self.values = {number: None if name == "Void" else number for number, name in enumerate(self.names)}
        elif num_classes in (None, 11):
            self.values = grouped if self.original else {**{k: k for k in range(11)}, 11: None}
        else:
            raise ValueError(f"CamVid has 11 or 32 classes, not {num_classes} (--num-classes, or the checkpoint)")

    def pairs_of(self, split):
        if split == "trainval":
            return sorted(self.pairs_of("train") + self.pairs_of("val"))
        if self.original:
            pairs = self.match("701_StillsRaw_full", "LabeledApproved_full", "", ("_L.png", ".png"))
            return [pair for pair in pairs if segnet_split(stem(pair[0].name)) == split]
        for images, labels in ((f"images/{split}", f"labels/{split}"), (split, f"{split}annot")):
            if (self.root / images).is_dir():
                return self.match(images, labels)
        return []

    def sequences(self):
        """Lists of sample numbers, each a stretch of one sequence without a gap, in time order."""
        frames = {}
        for number, (image, _) in enumerate(self.pairs):
            match = FRAME.match(image.name)
            if not match:
                raise DataError(f"{image} is not a CamVid frame (such as 0016E5_07959); clips need the frame numbers")
            frames.setdefault(match[1], []).append((int(match[2]), number))
        for sequence in frames.values():
            yield from clips.stretches(sequence)

    def clip(self, index):
        """Sample numbers of the clip around a sample, in time order; the sample itself is the middle one."""
        stretch = self.stretches[index]
        return clips.around(stretch, stretch.index(index), self.frames, self.stride)

    def open_pair(self, index):
        image, label = super().open_pair(index)
        if self.frames == 1:
            return image, label

        def read_clip(rows=None):
            numbers = self.clip(index)
            images = {number: image() if number == index else self.neighbour(number) for number in set(numbers)}
            return clips.stack([images[number] for number in numbers], [self.pairs[number][0] for number in numbers])

        return read_clip, label

    def neighbour(self, number):
        """The image of another frame of a clip. Its label is decoded only if a cache keeps both."""
        return super().open_pair(number)[0]() if self.cache else self.read_image(self.pairs[number][0])


def segnet_split(name):
    """SegNet's split of the original frames, from the name of a frame."""
    sequence, number = FRAME.match(name).groups()
    if sequence == "0016E5" and 7959 <= int(number) <= 8159:
        return "val"
    return "test" if sequence == "Seq05VD" or (sequence == "0001TP" and int(number) > 8520) else "train"
