"""The learning rate of a step."""


def poly(base, step, total, power=0.9, warmup=0):
    """base * (1 - step / total) ** power at step 0, 1 .. total - 1; the first `warmup` steps rise linearly to it."""
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return base * (1 - step / total) ** power * rise
