"""Mixed precision: convolutions and attention in 16 bits; softmax, losses, statistics and weights in float32.

    amp.mixed(model, "float16")              # the weights, and so checkpoints, do not change
    lines = amp.compute(model, "bfloat16")   # the same on a GPU; on the CPU with the layers that the network has for it
    scaler = amp.LossScaler("float16")
    updated = scaler.step(optimizer, loss)   # False: the gradients overflowed, and the weights were not updated

float16 has five bits of exponent: gradients below 6e-8 become 0, sums above 65504 become infinity. So the loss is
multiplied by a factor, the largest that does not overflow. bfloat16 has the exponent of float32 and needs no factor.
"""

import jittor as jt
from jittor import nn

from utils.training import optim, step_control

DTYPES = ("float16", "bfloat16")
CONVOLUTIONS = (nn.Conv, nn.ConvTranspose, nn.Linear)


def check(dtype, device, capabilities=()):
    """An error where `dtype` is not available. `capabilities`: of the GPUs; 70 is a V100, which has no bfloat16."""
    if dtype not in DTYPES:
        raise ValueError(f"--amp {dtype} is unknown; choose from {', '.join(DTYPES)}")
    if device != "cuda" and dtype == "float16":
        raise ValueError("--amp float16 needs a GPU; the CPU has bfloat16. Fix: --amp bfloat16, or no --amp")
    if device == "cuda" and dtype == "bfloat16" and any(capability < 80 for capability in capabilities):
        raise ValueError(
            f"--amp bfloat16 needs compute capability 8.0, this GPU has {min(capabilities) / 10}; use float16"
        )


def mixed(model, dtype):
    """Make `model` compute in `dtype` where that is safe. Outputs are float32; parameters do not change.

    A module with the attribute `computes_in_16_bits`, as BatchNorm, takes 16-bit inputs with its float32 weights.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; choose from {', '.join(DTYPES)}")
    if "execute" in vars(model):
        raise ValueError("this model computes in mixed precision already")
    for module in model.modules():
        if getattr(module, "computes_in_16_bits", False):
            continue
        if isinstance(module, CONVOLUTIONS) or (direct_variables(module) and module.children()):  # attention: gamma
            compute_in(module, dtype)
        elif direct_variables(module) or isinstance(module, nn.Pool):  # LayerNorm: sums of squares; and
            compute_in(module, "float32")  # Jittor's pooling does not compile for 16 bits on CUDA
    execute = model.execute
    model.execute = lambda x: to_float32(execute(x))
    return model


def compute(model, dtype):
    """Like `mixed` on a GPU. On the CPU the network computes in bfloat16 by itself, or in float32. -> lines to print"""
    reason = why_float32(model)
    if jt.flags.use_cuda:
        mixed(model, dtype)
    elif not reason:
        model.use_bfloat16()
    return [f"--amp {dtype}: computed in float32, because {reason}"] if reason else []


def why_float32(model):
    """Why --amp does not change how `model` computes on this machine; "" if it does."""
    if jt.flags.use_cuda:
        return ""
    if not hasattr(model, "why_no_bfloat16"):
        return "this network has no layers in bfloat16 for the CPU"
    return model.why_no_bfloat16()


def simplify(dtype=None, fold=None):
    """-> a function that simplifies a network for evaluation, and returns what it did: fold(model), then `dtype`."""

    def run(model):
        reason = why_float32(model) if dtype else ""
        done = fold(model, packing=not dtype or bool(reason)) if fold else "not folded"
        if dtype:
            compute(model, dtype)
            done += f", float32 instead of {dtype}: {reason}" if reason else f", {dtype}"
        return done

    return run


def direct_variables(module):
    """{name: Var} of the module itself, without those of its children."""
    return {name: value for name, value in vars(module).items() if isinstance(value, jt.Var)}


def compute_in(module, dtype):
    """Cast the input and the weights of `module` to `dtype`; the gradients of the weights are float32 again.

    The output has `dtype`, or, of a module in float32, the dtype of the input. Jittor passes gradients in the dtype of
    the operator that used the output (float32 for GELU), but cuDNN and the kernels need the dtype of the output.
    """
    execute = module.execute

    def cast(value):
        return value.cast(dtype) if isinstance(value, jt.Var) else value

    def run(x, *others, **options):  # others, options: arguments besides x, as the residual of a BatchNorm
        others = [cast(value) for value in others]
        options = {name: cast(value) for name, value in options.items()}
        if dtype == "float32":
            return execute(x.float32(), *others, **options).cast(x.dtype)
        variables = direct_variables(module)
        vars(module).update({name: value.cast(dtype) for name, value in variables.items()})
        try:
            y = execute(x.cast(dtype), *others, **options)
            return y.float32().cast(dtype)  # two casts, so that the gradient also has this dtype
        finally:
            vars(module).update(variables)

    module.execute = run


def to_float32(outputs):
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(to_float32(output) for output in outputs)
    return outputs.float32()


class LossScaler:
    """Multiplies the loss before the backward pass; the optimizer divides the gradients (step_control.py).

    The factor is halved when a gradient is not finite, and that step is skipped; it is doubled after `patience` good
    steps. All of this happens on the device: `numbers` is a Var, and to read `scale`, `good` or `skipped` waits for it.
    With another dtype than float16 the factor is 1. `step` is for any optimizer of Jittor, and waits; `backward` and
    `ready` are its parts, for gradient accumulation. Training uses `backward` and `decide` (late.py).
    """

    def __init__(self, dtype=None, scale=2.0**16, patience=2000, largest=2.0**24):
        self.dynamic = dtype == "float16"
        self.patience, self.largest = patience, largest
        self.numbers = step_control.fresh(scale if self.dynamic else 1.0)

    scale, good, skipped = (
        property(lambda self, k=k: float(self.numbers.numpy()[k]), lambda self, value, k=k: self.put(k, value))
        for k in range(3)
    )

    def put(self, place, value):
        numbers = self.numbers.numpy().copy()
        numbers[place] = value
        self.numbers = step_control.fresh(*numbers[:3])

    def step(self, optimizer, loss):
        """One step of any Jittor optimizer. -> whether the weights were updated"""
        self.backward(optimizer, loss)
        if not self.ready(optimizer):
            optimizer.n_step -= 1  # the bias correction of Adam counts the steps
            return False
        optimizer.step()
        return True

    def backward(self, optimizer, loss, **options):
        """Add the gradients of the scaled loss to those of earlier calls."""
        optimizer.backward(loss * self.numbers[:1] if self.dynamic else loss, **options)

    def decide(self, row, values, step, betas=(0.0, 0.0)):
        """-> the control numbers of a step for the optimizer (step_control.decide), without waiting for the device"""
        scaling = (self.patience, self.largest) if self.dynamic else None
        control, self.numbers = step_control.decide(row, self.numbers, values, step, betas, scaling)
        return control

    def ready(self, optimizer):
        """Divide the gradients by the scale. -> False if they are not finite, and then they are discarded"""
        if not self.dynamic:
            return True
        control = self.decide(optim.gradient_norm(optimizer, self.numbers), 1, optimizer.n_step)
        taken, inverse = control.numpy()[:2]
        if taken:
            gradients = [g for group in optimizer.param_groups for g in group["grads"]]
            for gradient in gradients:
                gradient.update(gradient * float(inverse))
            jt.sync(gradients)  # the update of a scalar must have run before it is used
            return True
        optimizer.zero_grad()
        self.check(dict(zip(step_control.STATE, self.numbers.numpy().tolist())))
        return False

    def check(self, state):
        """Raise if the scale cannot become smaller. `state`: {name: number}, see step_control.STATE."""
        if state["halted"]:
            raise FloatingPointError(
                f"gradients are not finite even at loss scale {state['scale']:g} ({state['skipped']:.0f} steps were "
                "skipped so far). Fix: --amp bfloat16, no --amp, or a lower --learning-rate"
            )

    def state(self):
        """The part of a checkpoint, for JSON; {} where there is no scale."""
        return {"scale": self.scale, "good": int(self.good), "skipped": int(self.skipped)} if self.dynamic else {}

    def load_state(self, state):
        """No effect without float16, or where the resumed run was not in float16."""
        if self.dynamic and state:
            self.numbers = step_control.fresh(float(state["scale"]), int(state["good"]), int(state["skipped"]))
