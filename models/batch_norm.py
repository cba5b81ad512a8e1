"""The BatchNorm of every network here: one place, so that its statistics are the same everywhere."""

from jittor.nn import BatchNorm

__all__ = ["BatchNorm"]
