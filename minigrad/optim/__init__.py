"""Optimizers. adam.py and sgd.py are the formulas; optimizer.py and flat.py are how a step runs as one kernel."""
from minigrad.optim import schedules
from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.clip import clip_grad_norm_
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.schedules import CosineWithWarmup
from minigrad.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "CosineWithWarmup", "Optimizer", "clip_grad_norm_", "schedules"]
