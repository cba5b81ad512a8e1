"""scripts/visualize_attention.py: its figure and its page agree with the network, and its errors are one line each."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from models.cca.maps import attention_map
from utils.drawing.attention_figure import to_cell

READY = "document.documentElement.dataset.ready === 'true'"


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

    image = tmp_path / "street.png"
    Image.fromarray(draw_scene(0, 5, 48, 64)[0][:, :, ::-1].copy()).save(image)
    command = ["python", "scripts/visualize_attention.py", "--device", "cpu", "--restore-from", checkpoint_file]
    command += ["--input", image, "--point", "20,30", "60,7", "--output", tmp_path / "figure.png"]
    done = run_command(*command, "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    width, height = Image.open(tmp_path / "figure.png").size
    assert width == 10 + 4 * 350 and height > 2 * 255

    passes, label, effect = network_outputs(checkpoint_file, image)
    assert effect["gamma"] == 0.5 and effect["features"] > 0.01
    assert "gamma = 0.5: attention changes the features of this image by " in done.stdout
    browser.open(tmp_path / "page.html", ready=READY)
    got = np.array(browser.value("Array.from(state.maps[1])")).reshape(passes[0].shape[:2])
    height, width = passes[0].shape[:2]
    exact = attention_map(passes, to_cell(30, 48, height), to_cell(20, 64, width))
    assert browser.value("[state.x, state.y]") == [20, 30] and abs(got - exact).max() < 0.01 * exact.max()
    remark = next(line for line in done.stdout.splitlines() if line.startswith("gamma"))
    assert browser.value("$('remark').textContent") == remark and browser.value("$('remark').className") == ""
    assert browser.value("Array.from(label)") == label.ravel().tolist() and browser.messages == []


def network_outputs(checkpoint_file, image):
    from datasets import transforms
    from models import build_model
    from utils.weights import network

    spec = importlib.util.spec_from_file_location("visualize_attention", "scripts/visualize_attention.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    settings = dict.fromkeys(("model", "num_classes", "recurrence", "van_size"))
    model, _ = network.load_network(checkpoint_file, build_model, settings)
    pixels = transforms.normalise(script.read_image(image, 2048))
    return script.run_network(model, pixels, (48, 64))


@pytest.mark.parametrize(
    "change, words",
    [
        (["--point", "64,0"], "--point 64,0 is outside the image of 64x48 pixels"),
        (["--point", "a,b"], "invalid point 'a,b'"),
        (["--input", "gone.png"], "gone.png does not exist"),
        (["--input", "README.md"], "README.md cannot be read as a"),
        (["--restore-from", "gone.npz"], "no checkpoint gone.npz"),
    ],
)
def test_errors_are_one_line(run_command, checkpoint_file, tmp_path, change, words):
    Image.new("RGB", (64, 48)).save(tmp_path / "black.png")
    command = ["python", "scripts/visualize_attention.py", "--device", "cpu", "--restore-from", checkpoint_file]
    done = run_command(*command, "--input", tmp_path / "black.png", *change)
    assert done.returncode in (1, 2) and words in done.stderr and "Traceback" not in done.stderr, done.stderr[-800:]


def test_a_port_whose_softmax_runs_over_the_image_is_refused(run_command, tmp_path):
    from models import build_model
    from models.tables import CAFFE_BGR
    from utils.weights import checkpoint

    options = {"activation": "none", "whole_softmax": True}
    meta = {"model": "ccnet_r18", "num_classes": 3, "recurrence": 2, "model_options": options, "ignore_label": 255}
    path = tmp_path / "port.npz"
    checkpoint.save(path, build_model("ccnet_r18", 3, 2, **options), {**meta, "normalisation": CAFFE_BGR})
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "image.png")
    command = ["python", "scripts/visualize_attention.py", "--device", "cpu", "--restore-from", path]
    done = run_command(*command, "--input", tmp_path / "image.png")
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert "port.npz is of a Jittor port whose softmax runs over the whole image" in done.stderr
