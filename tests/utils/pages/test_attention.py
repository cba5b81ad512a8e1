"""The attention page in a browser shows what Python computes."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from models.cca.maps import attention_map
from utils.drawing import attention_effect
from utils.drawing.attention_figure import to_cell
from utils.drawing.heat import heat, heat_table
from utils.pages import attention, build

NAMES, PALETTE = ("road", "sky & <sea>", "car"), ((128, 64, 128), (70, 130, 180), (0, 0, 142))
SIDE, CELLS = 769, 97  # of the image and of its attention maps, as in the paper
READY = "document.documentElement.dataset.ready === 'true'"


def random_passes(height, width, count, rng):
    """Peaked like trained attention: few large weights, many tiny ones."""
    passes = []
    for _ in range(count):
        weights = np.exp(2.5 * rng.standard_normal((height, width, height + width)))
        for y in range(height):
            weights[y, :, y] = 0  # a pixel attends to itself once, in its row
        passes.append((weights / weights.sum(-1, keepdims=True)).astype(np.float32))
    return passes


def stripes(height, width):
    return np.broadcast_to(np.arange(width) * 3 // width, (height, width)).astype(np.uint8)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page at the size of the paper -> (path, passes, error)"""
    rng = np.random.default_rng(3)
    passes, label = random_passes(CELLS, CELLS, 2, rng), stripes(SIDE, SIDE)
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    error = attention.quantisation_error(passes, attention_map, points=20)
    path = tmp_path_factory.mktemp("page") / "attention.html"
    facts = {"image": "grey.png, 769 × 769", "γ": "0.5"}
    build.write(path, attention.attention_page(image, label, passes, NAMES, PALETTE, (100, 200), facts, error))
    return path, passes, error


@pytest.fixture
def opened(browser, page):
    browser.open(page[0], 1280, 1000, ready=READY)
    return browser


def place(browser, x, y):
    """The position of pixel (x, y) of the image in the window."""
    left, top, width = browser.value("(b => [b.left, b.top, b.width])($('stage').getBoundingClientRect())")
    return left + (x + 0.5) * width / SIDE, top + (y + 0.5) * width / SIDE


def maps(browser):
    return [np.array(m).reshape(CELLS, CELLS) for m in browser.value("state.maps.map(m => Array.from(m))")]


def test_page_opens_without_requests_and_console_messages(opened, page):
    assert opened.messages == []
    assert [r for r in opened.requests if not r.startswith("data:")] == [page[0].as_uri()]
    assert "://" not in page[0].read_text()
    assert "connect-src" not in page[0].read_text() and "default-src 'none'" in page[0].read_text()


@pytest.mark.parametrize("point", [(0, 0), (500, 321), (768, 40)])
def test_click_gives_the_maps_that_python_computes(opened, page, point):
    _, passes, error = page
    opened.click(*place(opened, *point))
    x, y = opened.value("[state.x, state.y]")
    assert (x, y) == point
    cell = (to_cell(y, SIDE, CELLS), to_cell(x, SIDE, CELLS))
    for r, got in enumerate(maps(opened), 1):
        exact = attention_map(passes[:r], *cell)
        assert abs(got - exact).sum() / 2 <= error["bound"] + 1e-6  # the bound that the page states
        assert abs(got - exact).max() / exact.max() < 0.01
        stored = [attention.restore(attention.quantise(weights)) for weights in passes[:r]]
        np.testing.assert_allclose(got, attention_map(stored, *cell), atol=1e-12)
    assert f"{100 * error['bound']:.2f}" in opened.value("document.querySelector('footer').textContent")


def test_pixels_of_the_canvas_and_of_the_screen_are_the_map_in_colour(opened, page):
    opened.click(*place(opened, 333, 222))
    exact = attention_map(page[1], to_cell(222, SIDE, CELLS), to_cell(333, SIDE, CELLS))
    expected = heat(exact).astype(int)
    script = "Array.from($('map').getContext('2d').getImageData(0, 0, W, H).data)"
    canvas = np.array(opened.value(script)).reshape(CELLS, CELLS, 4)
    assert (canvas[..., 3] == 255).all()
    steps = abs(heat_table().astype(int)[1:] - heat_table()[:-1]).max()
    assert abs(canvas[..., :3] - expected).max() <= 3 * steps  # less than one level in a hundred

    opened.value("$('path').click(), $('opacity').value = 100, $('opacity').dispatchEvent(new Event('input'))")
    screen = np.array(Image.open(io.BytesIO(opened.screenshot(whole=False))).convert("RGB")).astype(int)
    cells = [(i, j) for i in range(2, CELLS, 9) for j in range(2, CELLS, 9) if abs(i - 28) > 5 and abs(j - 42) > 5]
    for i, j in cells:  # centres of cells, away from the cross
        wx, wy = place(opened, j * 8, i * 8)
        if wy < 990:
            assert abs(screen[round(wy), round(wx)] - expected[i, j]).max() <= 3 * steps, (i, j)


def test_brightness_clips_at_a_fraction_of_the_largest_weight(opened, page):
    opened.click(*place(opened, 333, 222))
    opened.value("$('bright').value = 3, $('bright').dispatchEvent(new Event('input'))")
    exact = attention_map(page[1], to_cell(222, SIDE, CELLS), to_cell(333, SIDE, CELLS))
    script = "Array.from($('map').getContext('2d').getImageData(0, 0, W, H).data)"
    canvas = np.array(opened.value(script)).reshape(CELLS, CELLS, 4)[..., :3]
    assert (canvas[exact > exact.max() / 7.5] == heat_table()[255]).all()
    assert abs(canvas - heat(exact, exact.max() / 8).astype(int)).max() <= 30
    assert opened.value("$('ticks').lastChild.textContent").startswith("≥ ")


def test_drag_moves_the_cross_and_the_readout_names_the_class(opened):
    opened.mouse("pressed", *place(opened, 50, 60))
    opened.mouse("moved", *place(opened, 400, 300))
    opened.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    opened.mouse("released", *place(opened, 400, 300))
    assert opened.value("[state.x, state.y]") == [400, 300]
    assert opened.value("$('cross').textContent").startswith("Cross at 400, 300: sky & <sea>")
    assert opened.value("$('cursor').textContent").startswith("Cursor at 400, 300: sky & <sea>; weight ")
    assert opened.value("$('shares').textContent.includes('road')")


def test_keys_move_by_cells_and_set_the_passes(opened):
    opened.click(*place(opened, 400, 320))
    opened.value("$('stage').focus()")
    for name, shift, point in (
        ("ArrowRight", False, [408, 320]),
        ("ArrowUp", True, [408, 280]),
        ("Home", False, [384, 384]),
    ):
        opened.key(name, shift)
        assert opened.value("[state.x, state.y]") == point
    opened.key("1")
    assert opened.value("[state.r, $('passes').value, $('passes-value').textContent]") == [1, "1", "R = 1"]
    assert opened.value("Array.from(document.querySelectorAll('.thumb'), t => t.getAttribute('aria-pressed'))") == [
        "true",
        "false",
    ]
    opened.value("$('passes').value = 2, $('passes').dispatchEvent(new Event('input'))")
    assert opened.value("state.r") == 2


def test_line_leads_along_rows_and_columns_to_the_largest_weight(opened, page):
    opened.click(*place(opened, 200, 600))
    exact = attention_map(page[1], 75, 25)
    exact[75, 25] = -1
    path = [(cell // CELLS, cell % CELLS) for cell in opened.value("state.path")]
    assert path[0] == (75, 25) and len(path) in (2, 3) and exact[path[-1]] > 0.99 * exact.max()
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in zip(path, path[1:]))


def test_maps_of_97x97_take_less_than_50_ms(opened):
    times = []
    for k in range(9):
        opened.click(*place(opened, 60 * k + 20, 700 - 50 * k))
        times.append(opened.value("state.ms"))
    print(f"R = 1 and R = 2 at 97x97: median {sorted(times)[4]:.2f} ms, largest {max(times):.2f} ms")
    assert sorted(times)[4] < 50
    assert "97 × 97 computed in" in opened.value("$('time').textContent")


@pytest.mark.parametrize("width, dark", [(390, False), (1600, True)])
def test_page_fits_phone_and_wide_screen_in_both_schemes(browser, page, width, dark):
    browser.open(page[0], width, 900, dark, mobile=width < 500, ready=READY)
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("$('stage').getBoundingClientRect().width") > 0.4 * min(width, 900)
    paper = [int(c) for c in re.findall(r"\d+", browser.value("getComputedStyle(document.body).backgroundColor"))[:3]]
    ink = [int(c) for c in re.findall(r"\d+", browser.value("getComputedStyle(document.body).color"))[:3]]
    assert (max(paper) < 60 < 180 < min(ink)) if dark else (max(ink) < 60 < 180 < min(paper))
    nameless = "Array.from(document.querySelectorAll('input')).filter(i => !i.labels.length && !i.ariaLabel).length"
    assert browser.value(nameless) == 0 and browser.value("$('stage').tabIndex") == 0


def test_page_warns_at_its_head_that_attention_has_almost_no_effect(browser, tmp_path, rng):
    passes, label = random_passes(3, 4, 2, rng), stripes(9, 12)
    error = attention.quantisation_error(passes, attention_map)
    remark = attention_effect.describe({"gamma": 0.0, "features": 0.0, "pixels": 0.0})
    image = np.full((9, 12, 3), 90, np.uint8)
    rest = (image, label, passes, NAMES, PALETTE, (1, 2), {"image": "grey"}, error)
    build.write(tmp_path / "page.html", attention.attention_page(*rest, remark=remark, warning=True))
    browser.open(tmp_path / "page.html", ready=READY)
    assert browser.value("$('remark').textContent") == remark
    top, bottom = browser.value("(b => [b.top, b.bottom])($('remark').getBoundingClientRect())")
    assert 0 < top < bottom < 300 and browser.value("getComputedStyle($('remark')).fontWeight") == "600"


def test_eight_bits_keep_the_weights_within_the_stated_error(rng):
    passes = random_passes(7, 11, 2, rng)
    error = attention.quantisation_error(passes, attention_map)
    assert error["points"] == 77 and 0 < error["measured"] < 0.02 and 0 < error["bound"] < 0.02
    restored = [attention.restore(attention.quantise(weights)) for weights in passes]
    worst = max(
        abs(attention_map(passes, y, x) - attention_map(restored, y, x)).sum() / 2 for y, x in np.ndindex(7, 11)
    )
    assert 0 < worst <= error["bound"]
    flat = np.full((1, 1, 2), (0.0, 1.0), np.float32)  # one pixel, which attends to itself
    assert attention.restore(attention.quantise(flat)).tolist() == [[[0.0, 1.0]]]
