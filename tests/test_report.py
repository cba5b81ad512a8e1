"""The page of a run: from what the run left, with what is missing named, and as it looks in a browser."""

import json
import re

import numpy as np
import pytest

from utils.examples import Examples, picture_score, read_examples
from utils.report import write_report
from utils.run_files import read_run
from utils.svg_chart import line_chart, log_ticks, short, smoothed, thin

NAMES, PALETTE = ("road", "sky", "a <b> & c"), ((128, 64, 128), (70, 130, 180), (0, 0, 142))


def pair(rng, wrong):
    """A label with a void rim, and a prediction of which that part is wrong."""
    label = rng.integers(0, 3, (40, 60)).astype(np.uint8)
    prediction = np.where(rng.random(label.shape) < wrong, (label + 1) % 3, label).astype(np.uint8)
    label[0] = 255
    return label, prediction


def fill(folder, rng, steps=300, classes=3):
    """A folder as train.py and evaluate.py leave it."""
    names = NAMES if classes == 3 else [f"class {k}" for k in range(classes)]
    options = {"num_steps": steps, "input_size": [96, 128], "ignore_label": None}
    args = {"model": "ccnet_r18", "dataset": "scenes", "recurrence": 2, "commit": "abc", "options": options}
    (folder / "args.json").write_text(json.dumps({**args, "command": ["train.py", "--data-dir", "<x>"]}))
    rows = ["step,loss,main,aux,lr,gamma,images_per_s,seconds,data_wait"]
    rows += [f"{k},{3 / k:.4f},{2 / k:.4f},{2.5 / k:.4f},0.01,{k / 1000},8.5,{k},0.1" for k in range(1, steps + 1)]
    (folder / "log.csv").write_text("\n".join(rows) + "\n17,0.")  # killed while it wrote
    (folder / "validation.csv").write_text("step,miou,pixel_accuracy\n100,0.25,\n200,0.5,0.8\n300,0.75,0.9\n")
    counts = rng.integers(0, 50, (classes, classes + 1)) + 900 * np.eye(classes, classes + 1, dtype=int)
    counts[:, -1] = 0
    iou = dict(zip(names, [0.5, None] + [0.875] * (classes - 2)))
    result = {"miou": 0.6875, "pixel_accuracy": 0.9, "iou": iou, "images": 12, "confusion": counts.tolist()}
    out = folder / "outputs"
    out.mkdir()
    (out / "result.json").write_text(json.dumps({**result, "settings": {"step": steps, "options": {"split": "val"}}}))
    examples = Examples(out / "examples", 3, PALETTE, keep=2)
    for k in range(7):
        label, prediction = pair(rng, k / 10)
        examples.add(f"city/{k}", rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), label, prediction)
    examples.save()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first <run>"
    folder.mkdir()
    fill(folder, np.random.default_rng(5))
    return folder


def test_page_holds_every_part(run):
    text = write_report(run).read_text()
    for words in (
        "first &lt;run&gt;",
        "68.8\u2009%",
        "ccnet_r18 · on scenes · R = 2 · commit abc · evaluated at step 300",
        "a &lt;b&gt; &amp; c",
        "train.py --data-dir &lt;x&gt;",
        "5 min 0 s",
        "city/0: mean IoU 100.0",
        "Worst pictures",
        "<dt>split</dt><dd>val</dd>",
        "<dt>input_size</dt><dd>96, 128</dd>",
    ):
        assert words in text, words
    charts = re.findall(r'class="title"[^>]*>([^<]+)<', text)
    assert charts[:6] == [
        "loss",
        "mean IoU",
        "accuracy",
        "learning rate",
        "γ of the attention",
        "pictures per second",
    ] and charts[6:] == ["data wait"]
    assert "Not in this folder" not in text and "{{" not in text and "://" not in text
    assert "<b>" not in re.sub(r"<b class='number'>", "", text)


def test_folder_of_an_evaluation_knows_its_training(run):
    text = write_report(run / "outputs", run / "elsewhere.html").read_text()
    assert "Not in this folder" not in text and "training time" in text and "68.8\u2009%" in text


@pytest.mark.parametrize("missing", ["args.json", "log.csv", "outputs/result.json", "outputs/examples"])
def test_what_is_missing_is_named_and_left_out(tmp_path, rng, missing):
    fill(tmp_path, rng)
    path = tmp_path / missing
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.unlink()
    text = write_report(tmp_path).read_text()
    assert "Not in this folder" in text and missing.split("/")[-1] in text


def test_damaged_parts_are_named_and_the_page_is_made(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "args.json").write_text('{"model": "ccn')
    (tmp_path / "outputs" / "result.json").write_text("[1]")
    next((tmp_path / "outputs" / "examples").glob("*.jpg")).write_bytes(b"\xff\xd8")
    text = write_report(tmp_path).read_text()
    assert "settings (args.json): cannot be read" in text and "result.json): not what it should be" in text


def test_a_run_of_today_without_validation_and_confusion(tmp_path, rng):
    fill(tmp_path, rng)
    (tmp_path / "validation.csv").unlink()
    result = json.loads((tmp_path / "outputs" / "result.json").read_text())
    del result["confusion"]
    (tmp_path / "outputs" / "result.json").write_text(json.dumps(result))
    text = write_report(tmp_path).read_text()
    assert "Not in this folder, so not on this page: confusion matrix." in text and "87.5\u2009%" in text


def test_confusion_is_found_in_files_too(tmp_path, rng):
    fill(tmp_path, rng)
    counts = np.arange(9).reshape(3, 3)
    result = json.loads((tmp_path / "outputs" / "result.json").read_text())
    del result["confusion"]
    (tmp_path / "outputs" / "result.json").write_text(json.dumps(result))
    np.save(tmp_path / "outputs" / "confusion.npy", counts)
    np.testing.assert_array_equal(read_run(tmp_path)["confusion"], counts)
    (tmp_path / "outputs" / "confusion.npy").unlink()
    (tmp_path / "outputs" / "confusion.csv").write_text(",road,sky,car\nroad,0,1,2\nsky,3,4,5\ncar,6,7,8\n")
    np.testing.assert_array_equal(read_run(tmp_path)["confusion"], counts)


def test_command_says_where_the_page_is_and_what_is_wrong(run, run_command, tmp_path):
    done = run_command("python", "scripts/report.py", run, "--output", tmp_path / "page.html")
    assert done.returncode == 0 and (tmp_path / "page.html").is_file(), done.stderr
    for folder, words in ((tmp_path / "gone", "no folder"), (tmp_path, "neither args.json")):
        done = run_command("python", "scripts/report.py", folder)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("width, dark", [(390, True), (1600, False)])
def test_page_opens_fits_and_reads_out_values(run, browser, width, dark):
    path = write_report(run)
    browser.open(path, width, 900, dark, mobile=width < 500)
    assert browser.complaints == [] and browser.value("document.documentElement.scrollWidth") == width
    assert [r for r in browser.requests if not r.startswith("data:")] == [path.resolve().as_uri()]
    images = "Array.from(document.images).every(i => i.complete && i.naturalWidth > 0 && i.alt)"
    assert browser.value("document.images.length") == 4 * 4 and browser.value(images)
    assert browser.value("Array.from(document.querySelectorAll('svg.chart')).every(c => c.getAttribute('aria-label'))")
    size = browser.value(
        "Math.min(...Array.from(document.querySelectorAll('.chart .small'), t => t.getBoundingClientRect().height))"
    )
    assert size > 9  # letters stay legible
    script = """(chart => {
        const box = chart.getBoundingClientRect();
        const at = {clientX: box.left + box.width * 0.9, clientY: box.top + 50};
        chart.dispatchEvent(new PointerEvent('pointermove', at));
        return chart.parentElement.querySelector('figcaption').textContent;
    })(document.querySelectorAll('svg.chart')[0])"""
    assert re.fullmatch(r"step \d+: loss [\d.]+, main [\d.]+, aux [\d.]+", browser.value(script))


def test_many_classes_make_a_picture_of_the_matrix(tmp_path, rng, browser):
    fill(tmp_path, rng, classes=40)
    path = write_report(tmp_path)
    assert "Most confused" in path.read_text() and "taken for class" in path.read_text()
    browser.open(path, 390, 844, mobile=True)
    assert browser.complaints == [] and browser.value("document.querySelector('img.matrix').naturalWidth") == 41


# ---------------------------------------------------------------------------------------------------- examples, charts


def test_score_of_a_picture_by_hand():
    label, prediction = np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 2]])
    assert picture_score(label, prediction, 3) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert np.isnan(picture_score(np.full((2, 2), 255), np.zeros((2, 2), int), 3))
    assert picture_score(np.array([[1]]), np.array([[200]]), 3) == 0


def test_examples_are_the_best_and_the_worst_whatever_the_order(tmp_path, rng):
    scores = {}
    examples = Examples(tmp_path, 3, PALETTE, keep=3)
    for k in rng.permutation(20):
        label, prediction = pair(rng, k / 20)
        scores[str(k)] = picture_score(label, prediction, 3)
        examples.add(str(k), np.zeros((40, 60, 3), np.uint8), label, prediction)
        assert len(examples.entries) <= 6
    examples.save()
    order = sorted(scores, key=lambda name: -scores[name])
    best, worst = read_examples(tmp_path, keep=3)
    assert [e[0] for e in best] == order[:3] and [e[0] for e in worst] == order[:-4:-1]
    assert best[0][1] == scores[order[0]]
    Examples(tmp_path, 3, PALETTE)  # of the next evaluation
    assert not list(tmp_path.iterdir())


def test_examples_of_two_ranks_are_one_set(tmp_path, rng):
    ranks = [Examples(tmp_path, 3, PALETTE, keep=2, clear=rank == 0) for rank in range(2)]
    for k in range(10):
        label, prediction = pair(rng, k / 10)
        ranks[k % 2].add(str(k), np.zeros((40, 60, 3), np.uint8), label, prediction)
    for rank in ranks:
        rank.save()
    best, worst = read_examples(tmp_path, keep=2)
    assert [e[0] for e in best] == ["0", "1"] and [e[0] for e in worst] == ["9", "8"]


def test_an_example_keeps_labels_and_colours(tmp_path, rng):
    label, prediction = pair(rng, 0.2)
    examples = Examples(tmp_path, 3, PALETTE)
    examples.add("a", np.full((40, 60, 3), (10, 20, 200), np.uint8), label, prediction)  # BGR
    examples.save()
    ((name, _, picture, truth, guess, palette),), worst = read_examples(tmp_path)
    assert name == "a" and worst == []
    np.testing.assert_array_equal(truth, label)
    np.testing.assert_array_equal(guess, prediction)
    assert picture[20, 30, 0] > 180 > picture[20, 30, 2] and palette[:3].tolist() == [list(c) for c in PALETTE]


def test_chart_keeps_extremes_ends_and_leaves_out_what_is_not_finite():
    xs = list(range(5000))
    ys = [1.0] * 5000
    ys[1234], ys[4321] = 9.0, -5.0
    kept = thin(xs, ys)
    assert len(kept[0]) <= 480 and (1234, 9.0) in zip(*kept) and (4321, -5.0) in zip(*kept)
    chart = line_chart({"a": ([1, 2, 3], [1.0, float("nan"), 2.0]), "b": ([], [])}, "t", "step")
    assert chart.count("<polyline") == 1 and "a from 1 to 2" in chart
    assert line_chart({"a": ([1], [float("nan")])}, "t") == ""


def test_running_mean_is_right_from_its_start():
    assert smoothed([2.0, 2.0, 2.0], 0.9) == pytest.approx([2.0, 2.0, 2.0])
    assert smoothed([0.0, 1.0], 0.5) == pytest.approx([0.0, 2 / 3])


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (0.25, "0.25"), (5e-4, "5e-4"), (40000, "40k"), (2e6, "2M"), (1000, "1000")]
)
def test_ticks_are_short(value, text):
    assert short(value) == text


def test_logarithmic_ticks_surround_the_values():
    assert log_ticks(3, 40) == [2, 5, 10, 20, 50] and log_ticks(1, 1e6) == [10.0**k for k in range(7)]
