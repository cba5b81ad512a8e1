"""How much the attention changes in one image. gamma starts at 0, and maps look alike whatever gamma is."""

import numpy as np

LITTLE = 0.01  # less change than this, of the features and of the class map: attention does almost nothing


def measure(layer, x, label, predict):
    """Compare the attention `layer` with itself at gamma = 0, where it is the identity.

    x: (1, C, H, W), its input; label: (H, W), the classes that the network predicts; predict(): the same again.
    -> {"gamma", "features": norm(layer(x) - x) / norm(x), "pixels": share of pixels whose class depends on gamma}
    """
    features, before = layer(x).numpy().astype(np.float64), x.numpy().astype(np.float64)
    gamma = layer.gamma.numpy().copy()
    layer.gamma.assign(np.zeros_like(gamma))
    try:
        without = predict()
    finally:
        layer.gamma.assign(gamma)
    change = np.linalg.norm(features - before) / max(np.linalg.norm(before), 1e-30)
    return {"gamma": float(gamma[0]), "features": float(change), "pixels": float((without != label).mean())}


def is_little(effect):
    return effect["features"] < LITTLE and effect["pixels"] < LITTLE


def sentence(effect):
    gamma, features, pixels = f"{effect['gamma']:.3g}", percent(effect["features"]), percent(effect["pixels"])
    if is_little(effect):
        return (
            f"Attention does almost nothing yet (gamma = {gamma}): with gamma = 0 the features of this image differ by "
            f"{features}, and {pixels} of its pixels get another class. The maps show where attention looks, not what "
            "it adds."
        )
    return (
        f"gamma = {gamma}: attention changes the features of this image by {features}; without it (gamma = 0), "
        f"{pixels} of the pixels get another class."
    )


def percent(share):
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    return f"{100 * share:.1f} %" if share >= 0.0995 else f"{100 * share:.2g} %"
