"""Mixed precision: convolutions and the attention in 16 bits, norms, softmax and losses in float32, weights in float32.

    amp.mixed(model, "float16")              # the weights, and so checkpoints, stay as they are
    scaler = amp.LossScaler("float16")
    stepped = scaler.step(optimizer, loss)   # False: the gradients overflowed, and nothing moved

float16 has five bits of exponent: gradients below 6e-8 become 0, sums above 65504 become infinite. So its loss is
multiplied, by as much as the gradients bear. bfloat16 has the exponent of float32 and needs none of it.
"""

import math

import jittor as jt
from jittor import nn

DTYPES = ("float16", "bfloat16")
CONVOLUTIONS = (nn.Conv, nn.ConvTranspose, nn.Linear)


def check(dtype, device, capabilities=()):
    """A clear error for what cannot be had. `capabilities` of the GPUs: 70 is a V100, which has no bfloat16."""
    if dtype not in DTYPES:
        raise ValueError(f"--amp {dtype} is unknown; choose from {', '.join(DTYPES)}")
    if device != "cuda":
        raise ValueError(
            f"--amp {dtype} needs a GPU: on the CPU, 16-bit convolutions are slower than float32. Leave --amp out"
        )
    if dtype == "bfloat16" and any(chip < 80 for chip in capabilities):
        raise ValueError(
            f"--amp bfloat16 needs compute capability 8.0, this GPU has {min(capabilities) / 10}; use float16"
        )


def mixed(model, dtype):
    """Make `model` compute in `dtype` where that is safe, its outputs float32. Parameters and their names stay."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; choose from {', '.join(DTYPES)}")
    if "execute" in vars(model):
        raise ValueError("this model computes in mixed precision already")
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS) or (own_variables(module) and module.children()):  # the latter: gamma
            compute_in(module, dtype)
        elif own_variables(module) or isinstance(module, nn.Pool):  # norms: sums of squares need float32; and Jittor's
            compute_in(module, "float32")  # pooling does not compile for 16 bits on CUDA
    execute = model.execute
    model.execute = lambda x: to_float32(execute(x))
    return model


def own_variables(module):
    return {name: value for name, value in vars(module).items() if isinstance(value, jt.Var)}


def compute_in(module, dtype):
    """Its input and its weights are cast on the way in; gradients of weights come back through the casts as float32.

    What comes out has 16 bits: of `dtype`, or, for a float32 island, of what came in. Jittor hands on gradients in the
    type of what used the output (GELU computes in float32), and cuDNN and kernels want them in the type of the output.
    """
    execute = module.execute

    def cast(value):
        return value.cast(dtype) if isinstance(value, jt.Var) else value

    def run(x, *others, **options):  # others and options: what callers pass beside x, as the sum behind a BatchNorm
        others = [cast(value) for value in others]
        options = {name: cast(value) for name, value in options.items()}
        if dtype == "float32":
            return execute(x.float32(), *others, **options).cast(x.dtype)
        own = own_variables(module)
        vars(module).update({name: value.cast(dtype) for name, value in own.items()})
        try:
            y = execute(x.cast(dtype), *others, **options)
            return y.float32().cast(dtype)  # there and back, so that the gradient, too, comes in as dtype
        finally:
            vars(module).update(own)

    module.execute = run


def to_float32(outputs):
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(to_float32(output) for output in outputs)
    return outputs.float32()


class LossScaler:
    """Multiplies the loss before the backward pass and divides the gradients after it.

    The factor halves when a gradient is not finite, and that step is left out; it doubles after `patience` good steps.
    Only float16 needs it: with any other dtype `step` is `optimizer.step(loss)`. `backward` and `ready` are its parts,
    for batches that come in pieces.
    """

    def __init__(self, dtype=None, scale=2.0**16, patience=2000, largest=2.0**24):
        self.scale = scale if dtype == "float16" else 1.0
        self.dynamic = dtype == "float16"
        self.patience, self.largest = patience, largest
        self.good = self.skipped = 0

    def step(self, optimizer, loss):
        """One step of any Jittor optimiser. -> whether the weights moved."""
        self.backward(optimizer, loss)
        if not self.ready(optimizer):
            optimizer.n_step -= 1  # Adam's corrections count the steps that were made
            return False
        optimizer.step()
        return True

    def backward(self, optimizer, loss):
        """Gradients of the scaled loss; called several times, they add up."""
        optimizer.backward(loss * self.scale if self.dynamic else loss)

    def ready(self, optimizer):
        """Bring the gradients to their size. -> False if they are not finite; they are forgotten then."""
        if not self.dynamic:
            return True
        gradients = [
            gradient
            for group in optimizer.param_groups
            for parameter, gradient in zip(group["params"], group["grads"])
            if not parameter.is_stop_grad()
        ]  # averaged over ranks already: all ranks see, and decide, the same
        for gradient in gradients:
            gradient.update(gradient / self.scale)
        jt.sync(gradients)  # a one-number update must not be pending when it is used
        if all(math.isfinite(total) for total in sums_of_squares(gradients)):
            self.good += 1
            if self.good >= self.patience:
                self.scale, self.good = min(self.scale * 2, self.largest), 0
            return True
        optimizer.zero_grad()
        self.skipped += 1
        self.good = 0
        if self.scale <= 1:
            raise FloatingPointError(
                f"gradients are not finite even at loss scale {self.scale:g} ({self.skipped} steps were left out so "
                "far); --amp bfloat16, no --amp, or a lower --learning-rate are the usual remedies"
            )
        self.scale /= 2
        return False

    def state(self):
        """What a checkpoint keeps, as JSON can hold it; {} where there is no scale."""
        return {"scale": self.scale, "good": self.good, "skipped": self.skipped} if self.dynamic else {}

    def load_state(self, state):
        """A run that goes on without float16 starts afresh, and so does one that was trained without it."""
        if self.dynamic and state:
            self.scale, self.good, self.skipped = float(state["scale"]), int(state["good"]), int(state["skipped"])


def sums_of_squares(gradients):
    """One number each, on the host: -Ofast kernels cannot ask for NaN, but their sums carry it."""
    return [float(total[0]) for total in jt.fetch_sync([gradient.sqr().sum() for gradient in gradients])]
