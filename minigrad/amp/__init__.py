"""Automatic mixed precision: number formats, autocast, loss scaling, and ways to do without master weights.

>>> import minigrad as mg
>>> mg.amp.round_to(0.1, "fp16")
0.0999755859375
"""
from minigrad.amp.autocast import POLICIES, autocast
from minigrad.amp.formats import bits, finfo, round_to
from minigrad.amp.grad_scaler import GradScaler
from minigrad.amp.matmul import matmul
from minigrad.amp.weights import LowPrecisionWeights

__all__ = ["POLICIES", "GradScaler", "LowPrecisionWeights", "autocast", "bits", "finfo", "matmul", "round_to"]
