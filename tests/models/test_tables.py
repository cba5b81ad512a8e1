import ast
from pathlib import Path

from models import tables


def test_tables_imports_nothing():
    tree = ast.parse(Path(tables.__file__).read_text("utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def test_every_alias_names_a_van_size():
    assert set(tables.VAN_ALIASES.values()) <= set(tables.VAN_SIZES)


def test_the_palette_is_that_of_the_voc_devkit():
    palette = tables.devkit_palette()
    assert palette[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0)) and palette[15] == (192, 128, 128)
    assert palette[20] == (0, 64, 128) and palette[255] == (224, 224, 192) and len(set(palette)) == 256
    assert tables.devkit_palette(21) == palette[:21]
