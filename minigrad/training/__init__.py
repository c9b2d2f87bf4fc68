"""Training: the loop, evaluation, checkpoints, where the memory goes, and how the base model was made.

    fit.py          Trainer (one step, all of it) and fit (many)
    evaluate.py     greedy reading and its scores
    checkpoint.py   one file from which a run goes on as if it had never stopped
    memory.py       bytes of weights, gradients, optimizer state and activations, measured
    memory_model.py, activation_model.py    the same in closed form, for models of any size
    pretrain.py     the base model
"""
from minigrad.training.checkpoint import load_checkpoint, save_checkpoint
from minigrad.training.evaluate import Evaluation, evaluate, predict
from minigrad.training.fit import FitResult, Trainer, TrainingDiverged, fit, interruptible, loss_on
from minigrad.training.memory import MemoryUse, activations_by_layer, memory
from minigrad.training.pretrain import pretrain

__all__ = ["Evaluation", "FitResult", "MemoryUse", "Trainer", "TrainingDiverged", "activations_by_layer", "evaluate", "fit",
           "interruptible", "load_checkpoint", "loss_on", "memory", "predict", "pretrain", "save_checkpoint"]
