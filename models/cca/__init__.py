"""Criss-cross attention, to be carried away whole: this folder imports only jittor and itself."""

from .functional import criss_cross_attention
from .module import RCCA, CrissCrossAttention

__all__ = ["RCCA", "CrissCrossAttention", "criss_cross_attention"]
