"""What each network of the long-range task can see, by its gradient and by its answers."""

import jittor as jt
import numpy as np
import pytest

from datasets.scenes.beacons import FAR, SIDE, draw_beacon
from models import build_model
from models.layers.resize import resize
from models.shallow import FIELD

AT = (33, 30)  # the pixel whose logits are derived; between cells, as most pixels are


def network(name, recurrence):
    model = build_model(name, 3, recurrence)
    for key, parameter in model.named_parameters():  # scales and shifts of BatchNorm, too
        if "running" not in key:
            parameter.assign(jt.randn(parameter.shape) * 0.3)
    model.head.cca.gamma.assign(np.ones(1, np.float32))
    jt.sync_all()
    model.eval()
    return model


def seen(model, side=65, cell=None):
    """(H, W) bool: the pixels of the image that the logits at AT, or those of a cell, depend on."""
    x = jt.randn(1, 3, side, side)
    logits = model(x)[0]
    y, x0 = cell or AT
    logits = logits if cell else resize(logits, (side, side), True)
    gradient = jt.grad((logits[:, :, y, x0] * jt.array([[1.0, -2.0, 3.0]])).sum(), x)
    return (gradient.numpy()[0] != 0).any(0)


def extent(mask):
    rows, columns = np.nonzero(mask)
    return [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())]


def distances(side=65):
    return abs(np.arange(side) - AT[0])[:, None], abs(np.arange(side) - AT[1])[None]


def test_the_field_of_view_is_the_one_computed():
    """A cell at stride 4 sees FIELD pixels in each direction; a pixel between cells up to 3 more."""
    model = network("ccnet_shallow", 0)
    assert extent(seen(model, cell=(8, 8))) == [32 - FIELD, 32 + FIELD] * 2
    assert extent(seen(model)) == [32 - FIELD, 36 + FIELD, 28 - FIELD, 32 + FIELD]  # AT: cells 8, 9 and 7, 8
    assert FIELD + 3 == FAR


def test_one_pass_sees_a_cross_and_two_see_everything():
    dy, dx = distances()
    one = seen(network("ccnet_shallow", 1))
    assert not one[(dy > FAR) & (dx > FAR)].any()
    assert one[dy[:, 0] <= 8].mean() > 0.9 and one[:, dx[0] <= 8].mean() > 0.9  # the band is seen to both ends
    for model in (network("ccnet_shallow", 2), network("ccnet_shallow_non_local", 1)):
        assert seen(model).mean() > 0.99


@pytest.mark.parametrize(
    "name, recurrence, half, depends",
    [
        ("ccnet_shallow", 0, "cross", False),
        ("ccnet_shallow", 0, "anywhere", False),
        ("ccnet_shallow", 1, "cross", True),
        ("ccnet_shallow", 1, "anywhere", False),
        ("ccnet_shallow", 2, "anywhere", True),
        ("ccnet_shallow_non_local", 1, "anywhere", True),
    ],
)
def test_whether_the_answer_can_depend_on_the_colour_of_the_beacon(name, recurrence, half, depends):
    """Where it cannot, the logits of the region are the same bits for every colour, so a guess is all that is left."""
    model = network(name, recurrence)
    for number in range(0, 12, 2):
        logits = []
        for colour in range(3):
            image, _, places = draw_beacon(0, number + (half == "anywhere"), 65, 65, colour)
            x = jt.array(image[None].transpose(0, 3, 1, 2).astype(np.float32) / 64 - 1)
            y, x0 = places["region"]
            whole = resize(model(x)[0], (65, 65), True).numpy()
            logits.append(whole[0, :, y : y + SIDE, x0 : x0 + SIDE])
        differ = any((one != logits[0]).any() for one in logits[1:])
        assert differ == depends, number


def test_an_unknown_attention_is_an_error():
    with pytest.raises(ValueError, match="attention is 'full'; choose criss_cross or non_local"):
        build_model("ccnet_shallow", 3, 1, attention="full")


def test_networks_fold_and_keep_their_keys():
    from models.layers.fold import fold

    models = [network(name, 2) for name in ("ccnet_shallow", "ccnet_shallow_non_local")]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    x = jt.randn(1, 3, 33, 41)
    for model in models:
        before = model(x)[0].numpy()
        fold(model)
        assert abs(model(x)[0].numpy() - before).max() < 1e-3 * abs(before).max()
