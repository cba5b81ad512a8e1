"""How much the attention layer changes for one image. Its gamma starts at 0, which the maps do not show."""

import numpy as np

NEGLIGIBLE = 0.01  # smaller changes of the features and of the predicted classes are reported as a warning


def measure(layer, x, label, predict):
    """Compare the attention `layer` with itself at gamma = 0, where it is the identity.

    x: (1, C, H, W), its input; label: (H, W), the predicted classes; predict(): computes `label` again.
    -> {"gamma", "features": norm(layer(x) - x) / norm(x), "pixels": fraction of pixels whose class depends on gamma}
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


def is_negligible(effect):
    return effect["features"] < NEGLIGIBLE and effect["pixels"] < NEGLIGIBLE


def describe(effect):
    gamma, features, pixels = f"{effect['gamma']:.3g}", percent(effect["features"]), percent(effect["pixels"])
    if is_negligible(effect):
        return (
            f"Attention has almost no effect yet (gamma = {gamma}): with gamma = 0 the features of this image differ "
            f"by {features}, and {pixels} of its pixels get another class. The maps show the attention weights, not "
            "their effect on the result."
        )
    return (
        f"gamma = {gamma}: attention changes the features of this image by {features}; without it (gamma = 0), "
        f"{pixels} of the pixels get another class."
    )


def percent(fraction):
    if 0 < fraction < 1e-4:
        return "less than 0.01 %"
    return f"{100 * fraction:.1f} %" if fraction >= 0.0995 else f"{100 * fraction:.2g} %"
