"""Criss-cross attention. This folder imports only jittor and numpy, so it can be copied into another project."""

from .functional import criss_cross_attention
from .module import RCCA, CrissCrossAttention

__all__ = ["RCCA", "CrissCrossAttention", "criss_cross_attention"]
