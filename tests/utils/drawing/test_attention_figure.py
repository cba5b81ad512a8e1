import numpy as np

from utils.drawing.attention_figure import HEAD, WARNING, attention_figure
from utils.drawing.heat import heat_table


def test_figure_has_room_for_the_remark_and_colours_a_warning():
    weights = np.full((3, 4), 1 / 12)
    entry = {"point": (2, 2), "name": "a class with a very long name " * 9, "maps": [weights], "paths": [[(0, 0)]]}
    image = np.full((30, 40, 3), 200, np.uint8)
    plain, remarked, warned = (
        np.array(attention_figure(image, [entry], *more)).astype(int)
        for more in ((), ("words " * 60, False), ("words " * 60, True))
    )
    assert len(remarked) >= len(plain) + 3 * 24
    for figure in (remarked, warned):  # no text is cut off
        assert all((part == 255).all() for part in (figure[:3], figure[-3:], figure[:, :3], figure[:, -3:]))
    assert not (remarked == WARNING).all(-1).any() and (warned == WARNING).all(-1).sum() > 500
    assert (plain[HEAD + 255 : HEAD + 285, 350:360] == 255).all()  # the name ends before the next column


def test_figure_shows_cross_cells_and_line_at_their_positions():
    weights = np.zeros((5, 9))
    weights[1, 7] = 1.0
    entry = {"point": (0, 16), "name": "car", "maps": [weights], "paths": [[(4, 0), (1, 0), (1, 7)]]}
    figure = np.array(attention_figure(np.full((17, 33, 3), 200, np.uint8), [entry], tile_width=330)).astype(int)
    top, left = HEAD, 10

    def at(column, x, y):  # pixel (x, y) of the image, in the tile of that column
        return figure[top + round((y + 0.5) * 10), left + column * 340 + round((x + 0.5) * 10)]

    assert abs(at(0, 20, 8) - 200).max() <= 2 and abs(at(1, 28, 4) - heat_table()[255]).max() <= 2
    assert at(1, 10, 10).max() <= 8  # weight 0
    assert at(0, 0, 16)[1] > 180 > at(0, 0, 16)[0]  # green
    assert at(2, 14, 4)[2] > 180 > at(2, 14, 4)[0]  # the line, blue
