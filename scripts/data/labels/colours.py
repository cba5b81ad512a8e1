"""Label images in colours: Pascal VOC's folders, and CVAT's "Segmentation mask 1.1" with its labelmap.txt.

Images in three channels and images with a palette show classes as colours. A grey image holds the numbers of the
classes, or their colours where its values are no numbers of classes. Black is unlabelled, unless a class has it.
"""

import io
from functools import partial

import numpy as np
from PIL import Image

from datasets.reading import image_io, label_io
from datasets.reading.image_io import DataError
from datasets.reading.pairs import list_files, stem
from models.tables import devkit_palette
from scripts.data.labels.export import BACKGROUND, UNLABELLED, VOID, VOID_NAMES, Export, Sample, shortened
from scripts.data.labels.images import Images, header, parts_of
from scripts.data.labels.splits import split_of

TITLE, LOOKS_LIKE = "label images in colours", "SegmentationClass/ or masks/ with colours, and the images"
MASKS = ("SegmentationClass", "masks", "labels", "annotations")
BORDER = (224, 224, 192)  # VOC's entry 255: void


def find(source):
    """[the folder of the masks], if its first mask is in colours."""
    for name in MASKS:
        if source.is_dir() and (source / name).is_dir():
            files = list_files(source / name)
            if files and (name == MASKS[0] or shows_colours(source / name / files[0])):
                return [source / name]
    return []


def shows_colours(path):
    try:
        with Image.open(path) as image:
            return image.mode in ("RGB", "RGBA", "P")
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return False


def read(source, files, options):
    folder, remarks, problems, samples = files[0], [], [], []
    table = read_colours(source, options.colors, remarks)
    # what was not annotated has the colour of the background, so --unlabelled decides what that is
    table = [(None if name and name.lower() in BACKGROUND else name, colour) for name, colour in table]
    images = Images(source, options, leave_out=(folder.name, "SegmentationObject"))
    masks = {stem(str(path)): path for path in list_files(folder)}
    splits = splits_of(source, masks, remarks)
    for key, path in masks.items():
        if splits and key not in splits:
            continue
        split = splits[key] if splits else split_of(path.parts[0]) if len(path.parts) > 1 else None
        try:
            image = images.find(key, hint=str(path))
        except DataError as error:
            problems.append(f"{folder / path}: {error}")
            continue
        paint = partial(paint_mask, folder / path, table)
        samples.append(
            Sample(
                key, str(folder / path), image, paint, partial(size_of, folder / path), False, split, (folder / path,)
            )
        )
    return Export([(name, colour) for name, colour in table if name], samples, problems, remarks)


def splits_of(source, masks, remarks):
    """{name: split} from ImageSets/Segmentation/*.txt; empty without such lists."""
    lists = sorted((source / "ImageSets" / "Segmentation").glob("*.txt"))
    splits, absent = {}, []
    for path in (path for path in lists if path.stem not in ("trainval", "all")):
        for line in path.read_text("utf-8-sig").splitlines():
            key = stem("/".join(parts_of(line.strip())))
            if key in masks:
                splits[key] = split_of(path.stem)
            elif key:
                absent.append(key)
    if absent:
        remarks.append(f"left out: {len(absent)} listed images without a mask, such as {absent[0]!r}")
    unlisted = [key for key in masks if key not in splits] if lists else []
    if unlisted:
        remarks.append(f"left out: {len(unlisted)} masks that are in no list, such as {unlisted[0]!r}")
    if lists and not splits:
        raise DataError(f"the lists in {lists[0].parent} name no mask of {source}: check their lines")
    return splits


def read_colours(source, given, remarks):
    """[(name, or None for unlabelled; RGB colour)], from --colors, labelmap.txt, classes.txt or VOC."""
    path = given or next((str(source / n) for n in ("labelmap.txt", "classes.txt") if (source / n).is_file()), None)
    if path is None:
        from datasets.voc import NAMES

        remarks.append("no --colors and no labelmap.txt: the colours and names are those of PASCAL VOC")
        return [*zip(NAMES, devkit_palette(len(NAMES))), ("void", BORDER)]
    table = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and line.lstrip()[0] != "#":
                table.append(colour_line(line.strip(), len(table), f"{path}, line {number}"))
    if not table:
        raise DataError(f"{path} has no class; expected lines 'name R G B' or 'name:r,g,b::'")
    colours = [colour for _, colour in table]
    twice = next((colour for colour in colours if colours.count(colour) > 1), None)
    if twice:
        raise DataError(f"{path}: two classes have the colour {twice}: {[n for n, c in table if c == twice]}")
    if (0, 0, 0) not in colours:
        table.append((None, (0, 0, 0)))
    return table


def colour_line(line, number, where):
    """ "name:r,g,b:parts:actions" or "name R G B"; a labelmap without a colour means VOC's of that number."""
    name, colon, rest = line.partition(":")
    words = rest.split(":")[0].split(",") if colon else line.split()[-3:]
    name = name if colon else " ".join(line.split()[:-3])
    if colon and not rest.split(":")[0].strip():
        return name.strip(), devkit_palette(number + 1)[number]
    if len(words) != 3 or not name or not all(word.strip().isdigit() and int(word) < 256 for word in words):
        raise DataError(f"{where}: {line!r} is neither 'name:r,g,b::' nor 'name R G B' with numbers 0..255")
    return name.strip(), tuple(int(word) for word in words)


def stored_colours(path):
    """-> (H, W) of R << 16 | G << 8 | B, or (H, W) grey values, and whether it is the second."""
    values = label_io.stored_values(path)
    if values.ndim == 3:
        bgr = values.astype(np.int32)
        return bgr[:, :, 2] << 16 | bgr[:, :, 1] << 8 | bgr[:, :, 0], False
    with Image.open(io.BytesIO(image_io.read_bytes(path))) as image:
        palette = image.getpalette() if image.mode == "P" else None
    if palette is None:
        return values.astype(np.int32), True
    table = np.zeros((256, 3), np.int32)
    table[: len(palette) // 3] = np.reshape(palette[: len(palette) // 3 * 3], (-1, 3))
    return (table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2])[values], False


def paint_mask(path, table, canvas):
    codes, grey = stored_colours(path)
    names = {r << 16 | g << 8 | b: name for name, (r, g, b) in table}
    if grey:
        numbers = {n: name for n, (name, _) in enumerate(table) if str(name).lower() not in VOID_NAMES}
        greys = set(np.unique(codes).tolist())
        by_colour = not greys <= set(numbers) and {v * 0x10101 for v in greys} <= set(names)
        numbers[255] = "void"
        codes, names = (codes * 0x10101, names) if by_colour else (codes, numbers)
    known = np.array(sorted(names))
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    wrong = known[place] != codes
    if wrong.any():
        canvas.bad(f"{path}: {unknown(codes[wrong], grey, table)}")
    values = np.full(len(known), VOID, np.uint8)
    for number in np.flatnonzero(np.bincount(place[~wrong], minlength=len(known))):
        name = names[int(known[number])]
        try:
            values[number] = UNLABELLED if name is None else canvas.value(name)
        except DataError as error:
            canvas.bad(f"{path}: {error}")
    canvas.label[:] = np.where(wrong, VOID, values[place])


def size_of(path):
    """(height, width)"""
    return header(path, str(path))[0]


def unknown(codes, grey, table):
    values, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts)[:3]
    shown = [code if grey else (code >> 16, code >> 8 & 255, code & 255) for code in values[order].tolist()]
    text = ", ".join(f"{one} ({count} pixels)" for one, count in zip(shown, counts[order].tolist()))
    what = "grey values" if grey else "colours (RGB)"
    names = shortened(f"{name} {colour}" for name, colour in table if name)
    return f"{len(values)} {what} that are not those of a class: {text}; the classes are {names}; give them by --colors"
