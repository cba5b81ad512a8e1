"""ONNX export: onnxruntime, OpenCV and the reference evaluator of onnx give the outputs of the network."""

import cv2
import jittor as jt
import numpy as np
import pytest
from jittor import nn
from support import rule_weights

from models import MMSEG, build_model
from models.layers.fold import fold
from models.tables import CAFFE_BGR, IMAGENET_RGB
from utils.evaluation.resize import resize

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

CLASSES = 5
SHAPES = ((2, 3, 33, 41), (1, 3, 64, 48))  # odd and even sides: the poolings differ
NETWORKS = {  # (name, recurrence, options)
    "deep, ceil": ("ccnet_r18", 2, {}),
    "deep, floor, no attention": ("ccnet_r18", 0, {"ceil_pool": False}),
    "v1c, ceil": ("ccnet_r18", 1, {"stem": "v1c"}),
    "v1c, floor, contracted": ("ccnet_mmseg_r50", 3, {"depth": 18}),
    "v1, ceil": ("ccnet_r18", 3, {"stem": "v1"}),
    "v1, floor": ("ccnet_r18", 1, {"stem": "v1", "ceil_pool": False}),
    "bottlenecks": ("ccnet_r50", 2, {"contract_dilation": True}),
    "van, multi": ("van", 2, {"van_size": "van_tiny"}),
    "van, multi, centres of pixels": ("van", 1, {"van_size": "van_tiny", "align_corners": False}),
    "van, 8": ("van", 1, {"van_size": "van_tiny", "output_stride": 8}),
    "van, 16, plain": ("van", 3, {"van_size": "van_tiny", "output_stride": 16, "dilate": False}),
    "van, 32": ("van", 2, {"van_size": "van_tiny", "output_stride": 32}),
    "shallow": ("ccnet_shallow", 2, {}),
}


def build(name, recurrence=2, options=None, simplify=True):
    model = build_model(name, CLASSES, recurrence, **(options or {}))
    rule_weights.fill(model)
    if simplify:
        fold(model, packing=False)
    return model


def export(model, normalisation=IMAGENET_RGB, **options):
    from models.export import to_onnx

    return to_onnx(model, normalisation, **options)


def pixels(shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(np.float32)


def ours(model, image, normalisation=IMAGENET_RGB):
    """0..255 RGB or bands -> logits at the size of the image."""
    x = image[:, ::-1] if normalisation["channels"] == "bgr" else image
    mean, std = (np.float32(normalisation[key]).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    with jt.no_grad():
        logits = model(jt.array((x - mean) / std))[0]
        return np.stack([resize(one, image.shape[2:], align_corners=model.align_corners).numpy() for one in logits])


def run(network, image):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def assert_close(result, expected, share=1e-4):
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() < share * np.ptp(expected)


@pytest.fixture(scope="module")
def r18():
    return build("ccnet_r18")


@pytest.mark.parametrize("network", NETWORKS)
def test_onnxruntime_gives_our_logits(network):
    """A graph for all sizes and one for each size; to_onnx checks each with onnx.checker."""
    name, recurrence, options = NETWORKS[network]
    model = build(name, recurrence, options)
    dynamic = export(model)
    for shape in SHAPES:
        image = pixels(shape)
        expected = ours(model, image)
        assert_close(run(dynamic, image), expected)
        assert_close(run(export(model, size=shape[2:], batch=shape[0]), image), expected)


def test_the_options_of_mmsegmentation_are_covered():
    assert (
        not MMSEG["align_corners"] and MMSEG["stem"] == "v1c" and MMSEG["contract_dilation"] and not MMSEG["ceil_pool"]
    )


def test_the_softmax_of_a_port_is_refused():
    with pytest.raises(ValueError, match="head.cca has the softmax over the whole image .* --recurrence 0"):
        export(build("ccnet_r18", 2, {"whole_softmax": True}))


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 130)])
def test_small_and_narrow_images(r18, size):
    image = pixels((1, 3, *size))
    assert_close(run(export(r18), image), ours(r18, image))


@pytest.mark.parametrize("normalisation", [CAFFE_BGR, {**IMAGENET_RGB, "channels": "bgr"}])
@pytest.mark.parametrize("name", ["ccnet_r18", "van", "ccnet_shallow"])
def test_models_of_bgr_networks_take_rgb(name, normalisation):
    model, image = build(name, 1, {"van_size": "van_tiny"} if name == "van" else {}), pixels(SHAPES[0])
    expected = ours(model, image, normalisation)
    assert_close(run(export(model, normalisation), image), expected)
    assert np.abs(run(export(model, normalisation), image[:, ::-1]) - expected).max() > 0.01 * np.ptp(expected)


@pytest.mark.parametrize("name, channels", [("ccnet_r18", 5), ("van", 1)])
def test_networks_of_other_numbers_of_channels_take_their_bands(name, channels):
    options = {"in_channels": channels, **({"van_size": "van_tiny"} if name == "van" else {})}
    model, shape = build(name, 1, options), (1, channels, 33, 41)
    numbers = np.random.default_rng(0).integers(20, 200, (2, channels)).tolist()
    record = {"channels": "bands", "mean": numbers[0], "std": numbers[1], "range": None}
    image = pixels(shape)
    expected = ours(model, image, record)
    for network in (export(model, record), export(model, record, size=shape[2:])):
        assert network.graph.input[0].type.tensor_type.shape.dim[1].dim_value == channels
        assert_close(run(network, image), expected)


def test_folded_and_unfolded_networks_give_the_same_result(r18):
    """Unfolded BatchNorms become BatchNormalization nodes."""
    image = pixels(SHAPES[0])
    plain = export(build("ccnet_r18", simplify=False))
    assert sum(node.op_type == "BatchNormalization" for node in plain.graph.node) == 26  # without the auxiliary head's
    assert not any(node.op_type == "BatchNormalization" for node in export(r18).graph.node)
    assert_close(run(plain, image), ours(r18, image))


def test_the_set_of_operators_is_small():
    model = build("ccnet_r18", 3)
    operators = {node.op_type for node in export(model, size=(33, 41)).graph.node}
    assert operators == {
        "Sub", "Div", "Conv", "Relu", "LeakyRelu", "MaxPool", "Add", "Mul", "Concat", "Transpose", "MatMul", "Softmax",
        "Slice", "Resize",
    }  # fmt: skip
    assert {node.op_type for node in export(model).graph.node} - operators == {
        "Shape", "Squeeze", "Unsqueeze", "Range", "Equal", "Cast",
    }  # fmt: skip


def test_weights_are_stored_once_for_any_recurrence():
    stored = []
    for recurrence in (1, 3):
        network = export(build("ccnet_r18", recurrence), size=(33, 41))
        assert network.opset_import[0].version == 17 and network.ir_version == 10
        assert sum(node.op_type == "Softmax" for node in network.graph.node) == recurrence
        stored.append({weight.name: tuple(weight.dims) for weight in network.graph.initializer})
    assert stored[0] == stored[1]
    assert stored[0]["head.cca.query_conv.weight"] == (16, 128, 1, 1)
    assert not any(key.startswith("dsn.") for key in stored[0])  # no auxiliary head


def test_the_mask_is_finite_in_float16(r18):
    network = export(r18, size=(33, 41), half=True)
    arrays = {weight.name: onnx.numpy_helper.to_array(weight) for weight in network.graph.initializer}
    mask = arrays["head.cca.mask"]
    assert mask.dtype == np.float16 and np.array_equal(mask, np.float16(-3e4) * np.eye(5, dtype=np.float16))
    assert all(np.isfinite(array).all() for array in arrays.values())


@pytest.mark.parametrize("name", ["ccnet_r18", "van"])
def test_float16_models_are_half_as_large_and_give_similar_results(name):
    model, image = build(name, 2, {"van_size": "van_tiny"} if name == "van" else {}), pixels(SHAPES[0])
    expected = ours(model, image)
    for size in (None, SHAPES[0][2:]):
        full, half = (export(model, size=size, batch=2, half=half) for half in (False, True))
        assert half.ByteSize() < 0.52 * full.ByteSize()
        assert_close(run(half, image), expected, 1e-2)


def test_probabilities_and_labels(r18):
    image = pixels(SHAPES[0])
    logits = ours(r18, image)
    probabilities = run(export(r18, output="probabilities"), image)
    raised = np.exp(logits - logits.max(1, keepdims=True))
    assert np.abs(probabilities - raised / raised.sum(1, keepdims=True)).max() < 1e-4
    labels = run(export(r18, output="labels"), image)
    assert labels.shape == (2, 33, 41) and (labels == logits.argmax(1)).mean() > 0.999


@pytest.mark.parametrize("network", ["deep, ceil", "v1c, floor, contracted", "v1, floor", "bottlenecks", "van, multi"])
def test_opencv_gives_our_logits(network):
    if tuple(map(int, cv2.__version__.split(".")[:2])) < (4, 9):
        pytest.skip(f"OpenCV {cv2.__version__}: 4.5 cannot read the file, 4.8 computes VANs wrongly")
    name, recurrence, options = NETWORKS[network]
    model = build(name, recurrence, options)
    for shape in SHAPES:
        image = pixels(shape)
        data = export(model, size=shape[2:], batch=shape[0]).SerializeToString()
        net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        net.setInput(image)
        assert_close(net.forward(), ours(model, image))


@pytest.mark.parametrize("size", [None, (33, 41)])
def test_the_reference_evaluator_of_onnx_gives_our_logits(r18, size):
    from onnx.reference import ReferenceEvaluator

    image = pixels((1, 3, 33, 41))
    (result,) = ReferenceEvaluator(export(r18, size=size)).run(None, {"image": image})
    assert_close(result, ours(r18, image))


def test_unsupported_networks_are_errors():
    model = build("ccnet_r18", simplify=False)
    model.layer2.layers["1"] = nn.InstanceNorm2d(128)
    with pytest.raises(ValueError, match=r"layer2\.1 is a InstanceNorm.*EMITTERS"):
        export(model)
    with pytest.raises(ValueError, match=r"head\.cca is a NonLocal, which models/export does not support"):
        export(build("ccnet_shallow_non_local", 1))
    model.packed = True
    with pytest.raises(ValueError, match="not packed"):
        export(model)
    with pytest.raises(ValueError, match="in evaluation"):
        export(build_model("ccnet_r18", CLASSES))
