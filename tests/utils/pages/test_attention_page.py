"""The attention page in a browser: what it shows is what Python computes. And the command that makes it."""

import importlib.util
import io
import re

import numpy as np
import pytest
from PIL import Image

from models.cca.maps import attention_map
from utils.drawing import attention_effect
from utils.drawing.attention_figure import HEAD, WARNING, attention_figure, to_cell
from utils.drawing.heat import heat, heat_table
from utils.pages import attention, build

NAMES, PALETTE = ("road", "sky & <sea>", "car"), ((128, 64, 128), (70, 130, 180), (0, 0, 142))
SIDE, CELLS = 769, 97  # the paper's size


def random_passes(height, width, count, rng):
    """Peaked as trained attention is: few large weights, many tiny ones."""
    passes = []
    for _ in range(count):
        weights = np.exp(2.5 * rng.standard_normal((height, width, height + width)))
        for y in range(height):
            weights[y, :, y] = 0  # a pixel meets itself in its row alone
        passes.append((weights / weights.sum(-1, keepdims=True)).astype(np.float32))
    return passes


def stripes(height, width):
    return np.broadcast_to(np.arange(width) * 3 // width, (height, width)).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page at the paper's size, and what it was made of."""
    rng = np.random.default_rng(3)
    passes, label = random_passes(CELLS, CELLS, 2, rng), stripes(SIDE, SIDE)
    picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
    error = attention.quantisation_error(passes, attention_map, points=20)
    path = tmp_path_factory.mktemp("page") / "attention.html"
    facts = {"picture": "grey.png, 769 × 769", "γ": "0.5"}
    build.write(path, attention.attention_page(picture, label, passes, NAMES, PALETTE, (100, 200), facts, error))
    return path, passes, error


@pytest.fixture
def opened(browser, made):
    browser.open(made[0], 1280, 1000, ready="document.documentElement.dataset.ready === 'true'")
    return browser


def place(browser, x, y):
    """Where pixel (x, y) of the picture lies in the window."""
    left, top, width = browser.value("(b => [b.left, b.top, b.width])($('stage').getBoundingClientRect())")
    return left + (x + 0.5) * width / SIDE, top + (y + 0.5) * width / SIDE


def maps(browser):
    return [np.array(m).reshape(CELLS, CELLS) for m in browser.value("state.maps.map(m => Array.from(m))")]


def test_page_opens_without_a_request_or_a_word_on_the_console(opened, made):
    assert opened.complaints == []
    assert [r for r in opened.requests if not r.startswith("data:")] == [made[0].as_uri()]
    assert "://" not in made[0].read_text()
    assert "connect-src" not in made[0].read_text() and "default-src 'none'" in made[0].read_text()


@pytest.mark.parametrize("point", [(0, 0), (500, 321), (768, 40)])
def test_click_gives_the_maps_that_python_computes(opened, made, point):
    _, passes, error = made
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


def test_pixels_of_the_canvas_and_of_the_screen_are_the_map_in_colour(opened, made):
    opened.click(*place(opened, 333, 222))
    exact = attention_map(made[1], to_cell(222, SIDE, CELLS), to_cell(333, SIDE, CELLS))
    expected = heat(exact).astype(int)
    script = "Array.from($('map').getContext('2d').getImageData(0, 0, W, H).data)"
    canvas = np.array(opened.value(script)).reshape(CELLS, CELLS, 4)
    assert (canvas[..., 3] == 255).all()
    steps = abs(heat_table().astype(int)[1:] - heat_table()[:-1]).max()
    assert abs(canvas[..., :3] - expected).max() <= 3 * steps  # less than one level in a hundred

    opened.value("$('way').click(), $('opacity').value = 100, $('opacity').dispatchEvent(new Event('input'))")
    screen = np.array(Image.open(io.BytesIO(opened.screenshot(whole=False))).convert("RGB")).astype(int)
    far = [(i, j) for i in range(2, CELLS, 9) for j in range(2, CELLS, 9) if abs(i - 28) > 5 and abs(j - 42) > 5]
    for i, j in far:  # in the middle of cells, away from the cross
        wx, wy = place(opened, j * 8, i * 8)
        if wy < 990:
            assert abs(screen[round(wy), round(wx)] - expected[i, j]).max() <= 3 * steps, (i, j)


def test_brightness_clips_at_a_part_of_the_largest_weight(opened, made):
    opened.click(*place(opened, 333, 222))
    opened.value("$('bright').value = 3, $('bright').dispatchEvent(new Event('input'))")
    exact = attention_map(made[1], to_cell(222, SIDE, CELLS), to_cell(333, SIDE, CELLS))
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
    assert opened.value("$('cursor').textContent").startswith("Cursor at 400, 300: sky & <sea>; gets ")
    assert opened.value("$('shares').textContent.includes('road')")


def test_keys_move_by_cells_and_choose_the_passes(opened):
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


def test_line_leads_along_rows_and_columns_to_the_largest_weight(opened, made):
    opened.click(*place(opened, 200, 600))
    exact = attention_map(made[1], 75, 25)
    exact[75, 25] = -1
    way = [(cell // CELLS, cell % CELLS) for cell in opened.value("state.way")]
    assert way[0] == (75, 25) and len(way) in (2, 3) and exact[way[-1]] > 0.99 * exact.max()
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in zip(way, way[1:]))


def test_maps_of_97x97_take_less_than_50_ms(opened):
    times = []
    for k in range(9):
        opened.click(*place(opened, 60 * k + 20, 700 - 50 * k))
        times.append(opened.value("state.ms"))
    print(f"R = 1 and R = 2 at 97x97: median {sorted(times)[4]:.2f} ms, largest {max(times):.2f} ms")
    assert sorted(times)[4] < 50
    assert "97 × 97 computed in" in opened.value("$('time').textContent")


@pytest.mark.parametrize("width, dark", [(390, False), (1600, True)])
def test_page_fits_phone_and_wide_screen_in_both_schemes(browser, made, width, dark):
    browser.open(
        made[0], width, 900, dark, mobile=width < 500, ready="document.documentElement.dataset.ready === 'true'"
    )
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value("$('stage').getBoundingClientRect().width") > 0.4 * min(width, 900)
    paper = [int(c) for c in re.findall(r"\d+", browser.value("getComputedStyle(document.body).backgroundColor"))[:3]]
    ink = [int(c) for c in re.findall(r"\d+", browser.value("getComputedStyle(document.body).color"))[:3]]
    assert (max(paper) < 60 < 180 < min(ink)) if dark else (max(ink) < 60 < 180 < min(paper))
    nameless = "Array.from(document.querySelectorAll('input')).filter(i => !i.labels.length && !i.ariaLabel).length"
    assert browser.value(nameless) == 0 and browser.value("$('stage').tabIndex") == 0


@pytest.fixture(scope="module")
def checkpoint_file(tmp_path_factory):
    import jittor as jt

    from models import build_model
    from models.tables import CAFFE_BGR
    from utils.weights import checkpoint

    model = build_model("ccnet_r18", 9, 2)
    model.head.cca.gamma.assign(jt.array([0.5]))
    jt.sync_all()
    path = tmp_path_factory.mktemp("weights") / "net.npz"
    meta = {
        "model": "ccnet_r18",
        "num_classes": 9,
        "recurrence": 2,
        "dataset": "scenes",
        "ignore_label": 255,
        "normalisation": CAFFE_BGR,
    }
    checkpoint.save(path, model, meta)
    return path


def test_command_writes_the_figure_and_a_page_that_agrees_with_the_network(
    run_command, checkpoint_file, tmp_path, browser
):
    from datasets.scenes.dataset import draw_scene

    picture = tmp_path / "street.png"
    Image.fromarray(draw_scene(0, 5, 48, 64)[0][:, :, ::-1].copy()).save(picture)
    command = ["python", "scripts/visualize_attention.py", "--device", "cpu", "--restore-from", checkpoint_file]
    command += ["--input", picture, "--point", "20,30", "60,7", "--output", tmp_path / "figure.png"]
    done = run_command(*command, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    width, height = Image.open(tmp_path / "figure.png").size
    assert width == 10 + 4 * 350 and height > 2 * 255

    passes, label, effect = watched(checkpoint_file, picture)
    assert effect["gamma"] == 0.5 and effect["features"] > 0.01
    assert "gamma = 0.5: attention changes the features of this image by " in done.stdout
    browser.open(tmp_path / "page.html", ready="document.documentElement.dataset.ready === 'true'")
    got = np.array(browser.value("Array.from(state.maps[1])")).reshape(passes[0].shape[:2])
    height, width = passes[0].shape[:2]
    exact = attention_map(passes, to_cell(30, 48, height), to_cell(20, 64, width))
    assert browser.value("[state.x, state.y]") == [20, 30] and abs(got - exact).max() < 0.01 * exact.max()
    said = next(line for line in done.stdout.splitlines() if line.startswith("gamma"))
    assert browser.value("$('remark').textContent") == said and browser.value("$('remark').className") == ""
    assert browser.value("Array.from(label)") == label.ravel().tolist() and browser.complaints == []


def watched(checkpoint_file, picture):
    from datasets import transforms
    from models import build_model
    from utils.weights import network

    spec = importlib.util.spec_from_file_location("visualize_attention", "scripts/visualize_attention.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    asked = dict.fromkeys(("model", "num_classes", "recurrence", "van_size"))
    model, _ = network.load_network(checkpoint_file, build_model, asked)
    image = transforms.normalise(script.read_picture(picture, 2048))
    return script.watch(model, image, (48, 64))


@pytest.mark.parametrize(
    "change, words",
    [
        (["--point", "64,0"], "--point 64,0 is outside the picture of 64x48 pixels"),
        (["--point", "a,b"], "'a,b' is no point"),
        (["--input", "gone.png"], "gone.png does not exist"),
        (["--input", "README.md"], "README.md cannot be read as a picture"),
        (["--restore-from", "gone.npz"], "no checkpoint gone.npz"),
    ],
)
def test_mistakes_are_answered_in_one_line(run_command, checkpoint_file, tmp_path, change, words):
    Image.new("RGB", (64, 48)).save(tmp_path / "black.png")
    command = ["python", "scripts/visualize_attention.py", "--device", "cpu", "--restore-from", checkpoint_file]
    done = run_command(*command, "--input", tmp_path / "black.png", *change)
    assert done.returncode in (1, 2) and words in done.stderr and "Traceback" not in done.stderr, done.stderr[-800:]


def test_gamma_near_zero_is_stated_and_measured():
    """A network of one attention layer: its classes are the signs of its output."""
    import jittor as jt

    from models.cca import RCCA

    layer, x = RCCA(8, recurrence=2), jt.randn(1, 8, 6, 7)
    classes = lambda: (layer(x).numpy()[0].sum(0) > 0).astype(np.uint8)  # noqa: E731
    found = {}
    for gamma in (0.0, 1e-5, 3.0):
        layer.gamma.assign(jt.array([gamma]))
        found[gamma] = attention_effect.measure(layer, x, classes(), classes)
        assert layer.gamma.item() == pytest.approx(gamma) == found[gamma]["gamma"]  # put back
    assert found[0.0]["features"] == found[0.0]["pixels"] == 0
    assert 0 < found[1e-5]["features"] < 1e-3 and found[3.0]["features"] > 0.5 and found[3.0]["pixels"] > 0
    assert [attention_effect.is_little(found[gamma]) for gamma in found] == [True, True, False]
    exact = layer(x).numpy() - x.numpy()
    assert found[3.0]["features"] == pytest.approx(np.linalg.norm(exact) / np.linalg.norm(x.numpy()), rel=1e-4)
    texts = [attention_effect.sentence(found[gamma]) for gamma in found]
    assert texts[0].startswith("Attention does almost nothing yet (gamma = 0): ") and "differ by 0 %" in texts[0]
    assert "does almost nothing yet (gamma = 1e-05)" in texts[1] and "nothing" not in texts[2]
    assert "gamma = 3: attention changes" in texts[2]


def test_figure_has_room_for_the_remark_and_marks_a_warning():
    map_ = np.full((3, 4), 1 / 12)
    entry = {"point": (2, 2), "name": "a class with a very long name " * 9, "maps": [map_], "ways": [[(0, 0)]]}
    picture = np.full((30, 40, 3), 200, np.uint8)
    plain, remarked, warned = (
        np.array(attention_figure(picture, [entry], *more)).astype(int)
        for more in ((), ("words " * 60, False), ("words " * 60, True))
    )
    assert len(remarked) >= len(plain) + 3 * 24
    for figure in (remarked, warned):  # nothing is cut at the border
        assert all((part == 255).all() for part in (figure[:3], figure[-3:], figure[:, :3], figure[:, -3:]))
    assert not (remarked == WARNING).all(-1).any() and (warned == WARNING).all(-1).sum() > 500
    assert (plain[HEAD + 255 : HEAD + 285, 350:360] == 255).all()  # the name ends before the next column


def test_page_says_at_its_head_that_attention_does_almost_nothing(browser, tmp_path, rng):
    passes, label = random_passes(3, 4, 2, rng), stripes(9, 12)
    error = attention.quantisation_error(passes, attention_map)
    remark = attention_effect.sentence({"gamma": 0.0, "features": 0.0, "pixels": 0.0})
    picture = np.full((9, 12, 3), 90, np.uint8)
    rest = (picture, label, passes, NAMES, PALETTE, (1, 2), {"picture": "grey"}, error)
    build.write(tmp_path / "page.html", attention.attention_page(*rest, remark=remark, warning=True))
    browser.open(tmp_path / "page.html", ready="document.documentElement.dataset.ready === 'true'")
    assert browser.value("$('remark').textContent") == remark
    top, bottom = browser.value("(b => [b.top, b.bottom])($('remark').getBoundingClientRect())")
    assert 0 < top < bottom < 300 and browser.value("getComputedStyle($('remark')).fontWeight") == "600"


def test_figure_shows_cross_cells_and_line_where_they_are():
    map_ = np.zeros((5, 9))
    map_[1, 7] = 1.0
    entry = {"point": (0, 16), "name": "car", "maps": [map_], "ways": [[(4, 0), (1, 0), (1, 7)]]}
    figure = np.array(attention_figure(np.full((17, 33, 3), 200, np.uint8), [entry], tile_width=330)).astype(int)
    top, left = HEAD, 10

    def at(column, x, y):  # of the pixel of the picture in the tile of that column
        return figure[top + round((y + 0.5) * 10), left + column * 340 + round((x + 0.5) * 10)]

    assert abs(at(0, 20, 8) - 200).max() <= 2 and abs(at(1, 28, 4) - heat_table()[255]).max() <= 2
    assert at(1, 10, 10).max() <= 8  # nobody looks there
    assert at(0, 0, 16)[1] > 180 > at(0, 0, 16)[0]  # green
    assert at(2, 14, 4)[2] > 180 > at(2, 14, 4)[0]  # the line, blue


def test_weights_survive_eight_bits_within_the_stated_error(rng):
    passes = random_passes(7, 11, 2, rng)
    error = attention.quantisation_error(passes, attention_map)
    assert error["points"] == 77 and 0 < error["measured"] < 0.02 and 0 < error["bound"] < 0.02
    restored = [attention.restore(attention.quantise(weights)) for weights in passes]
    worst = max(
        abs(attention_map(passes, y, x) - attention_map(restored, y, x)).sum() / 2 for y, x in np.ndindex(7, 11)
    )
    assert 0 < worst <= error["bound"]
    flat = np.full((1, 1, 2), (0.0, 1.0), np.float32)  # one pixel: it meets itself
    assert attention.restore(attention.quantise(flat)).tolist() == [[[0.0, 1.0]]]


def test_text_cannot_break_out_of_the_page():
    assert "</script" not in build.as_json({"names": ["</script><script>alert(1)"]})
    assert build.escape("<b>") == "&lt;b&gt;"
