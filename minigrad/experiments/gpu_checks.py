"""What is looked at on a GPU: the same losses as NumPy's, no hidden waiting, flat memory, time beside PyTorch, facts.

Every check is a function from a backend's name to a dict with "passed" (None where it is only a number). They run on any
backend, so that the tests can try them without a GPU.
"""
from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from minigrad import backend, optim
from minigrad.experiments.torch_twin import torch_twin
from minigrad.models import GPT, GPTConfig
from minigrad.nn import functional as F

FIRST_STEP, GROWTH = 1e-5, 1.1                      # the band: |loss − NumPy's| ≤ FIRST_STEP · GROWTH^step · loss


@dataclass(frozen=True)
class Size:
    """A model and a batch to time it with."""

    name: str
    config: GPTConfig
    batch: int
    tokens: int


SIZES = {size.name: size for size in (
    Size("lesson", GPTConfig(80, context=64, d_model=128, n_layers=4, n_heads=4), 32, 64),
    Size("25M", GPTConfig(256, context=256, d_model=512, n_layers=8, n_heads=8), 32, 256),
    Size("124M", GPTConfig(50_304, context=1024, d_model=768, n_layers=12, n_heads=12, tie_head=True), 8, 512))}
TINY = Size("tiny", GPTConfig(16, context=16, d_model=16, n_layers=1, n_heads=2), 2, 8)


class Step:
    """A training step in pieces that can be timed one by one: forward, backward, clip, update. Nothing in it waits.

    dtype: of the weights, and so of all arrays ("float16" has no loss scale: it is for timing, not for learning).
    """

    def __init__(self, size: Size, dtype: str = "float32", seed: int = 0):
        mg.manual_seed(seed)
        self.model = GPT(size.config)
        self.vocab_size = size.config.vocab_size
        if dtype != "float32":
            for parameter in self.model.parameters():
                parameter.data = parameter.data.astype(dtype)
        self.optimizer = optim.AdamW(self.model.named_parameters(), lr=1e-3, eps=1e-8 if dtype == "float32" else 1e-4)
        self.rng = np.random.default_rng(seed)
        self.shape = size.batch, size.tokens
        self.new_batch()

    def new_batch(self) -> None:
        """Random tokens in which each is a function of the one before, so that there is something to learn."""
        first = self.rng.integers(0, self.vocab_size, (self.shape[0], 1))
        chain = (first + 3 * np.arange(self.shape[1] + 1)) % self.vocab_size
        self.ids, self.targets = chain[:, :-1], chain[:, 1:]

    def forward(self) -> None:
        """The loss."""
        self.loss = F.cross_entropy(self.model(self.ids).reshape(-1, self.vocab_size), self.targets.reshape(-1))

    def backward(self) -> None:
        """The gradients."""
        self.loss.backward()

    def clip(self) -> None:
        """Their length, at most 1."""
        self.norm = optim.clip_grad_norm_(self.model.parameters(), 1.0)

    def update(self) -> None:
        """AdamW."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def __call__(self) -> None:
        self.forward()
        self.backward()
        self.clip()
        self.update()


class TorchStep(Step):
    """The same step in PyTorch eager, from the same weights, on the same kind of device."""

    def __init__(self, size: Size, dtype: str = "float32", device: str = "cuda"):
        import torch

        with mg.use_backend("numpy"):
            super().__init__(size)
        self.torch = torch
        self.model = torch_twin(self.model).to(device, getattr(torch, dtype))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, eps=1e-8 if dtype == "float32" else 1e-4)
        self.ids, self.targets = (torch.from_numpy(a).to(device) for a in (self.ids, self.targets))

    def forward(self) -> None:
        """The loss."""
        self.loss = self.torch.nn.functional.cross_entropy(self.model(self.ids).view(-1, self.vocab_size),
                                                           self.targets.reshape(-1))

    def clip(self) -> None:
        """Their length, at most 1."""
        self.norm = self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)


def losses(name: str, steps: int, size: Size) -> list[float]:
    """The loss of every step of a training run on a backend."""
    with mg.use_backend(name):
        step, found = Step(size), []
        for _ in range(steps):
            step()
            found.append(step.loss.item())
            step.new_batch()
    return found


def parity(name: str, steps: int = 50, size: Size = SIZES["lesson"]) -> dict:
    """Whether a training run's losses are NumPy's, within a band that is narrow at first and widens by a tenth a step."""
    theirs, ours = losses("numpy", steps, size), losses(name, steps, size)
    apart = [abs(a - b) / max(abs(b), 1e-3) for a, b in zip(ours, theirs, strict=True)]
    band = [FIRST_STEP * GROWTH ** i for i in range(steps)]
    return {"passed": all(a <= b for a, b in zip(apart, band, strict=True)), "steps": steps,
            "band": f"{FIRST_STEP:g} · {GROWTH}^step of the loss", "first_difference": apart[0],
            "largest_share_of_band": max(a / b for a, b in zip(apart, band, strict=True)), "numpy": theirs, name: ours}


def synchronization(name: str, size: Size = SIZES["lesson"]) -> dict:
    """Whether forward, backward, clipping and update run without the host ever waiting."""
    with mg.use_backend(name) as be:
        step = Step(size)
        step()                                      # compiles the kernels, lays out the optimizer's buffers
        be.synchronize()
        waited = {}
        for part in ("forward", "backward", "clip", "update"):
            try:
                with be.no_waiting():
                    getattr(step, part)()
            except Exception as error:
                waited[part] = f"{type(error).__name__}: {error}"
                break
    return {"passed": not waited, "waited": waited}


def memory(name: str, steps: int = 30, size: Size = SIZES["lesson"]) -> dict:
    """Whether the bytes in use after each step stay the same, from the third step on."""
    with mg.use_backend(name) as be:
        step, used = Step(size), []
        for _ in range(steps):
            step()
            be.synchronize()
            used.append(be.memory_used())
    return {"passed": len(set(used[2:])) == 1, "bytes": used}


def repeatable(name: str, size: Size = SIZES["lesson"]) -> dict:
    """Whether two runs from one seed give the same bits."""
    first, second = losses(name, 5, size), losses(name, 5, size)
    return {"passed": first == second, "losses": [first, second]}


def _median_ms(action, wait, rounds: int) -> float:
    times = []
    for i in range(rounds + 3):
        wait()
        began = time.perf_counter()
        action()
        wait()
        if i >= 3:
            times.append(1e3 * (time.perf_counter() - began))
    return sorted(times)[len(times) // 2]


def _parts_ms(step, wait, rounds: int) -> dict:
    """Where a step's time goes. Waiting after each part adds a little to the whole."""
    times: dict = {part: [] for part in ("forward", "backward", "clip", "update")}
    for _ in range(rounds):
        for part, found in times.items():
            wait()
            began = time.perf_counter()
            getattr(step, part)()
            wait()
            found.append(1e3 * (time.perf_counter() - began))
    return {part: sorted(found)[len(found) // 2] for part, found in times.items()}


def step_time(name: str, size: Size, dtype: str, rounds: int = 20) -> dict:
    """A row of the table: a step here and in PyTorch eager on the same device; PyTorch's cells are None without it."""
    with mg.use_backend(name) as be:
        step = Step(size, dtype)
        row = {"size": size.name, "parameters": sum(p.size for p in step.model.parameters()), "batch": size.batch,
               "tokens": size.tokens, "dtype": dtype, "minigrad_ms": _median_ms(step, be.synchronize, rounds)}
        row |= {f"minigrad_{part}_ms": ms for part, ms in _parts_ms(step, be.synchronize, 5).items()}
        row["loss"] = float(step.loss.item())
        del step
    device, wait = torch_device(name)
    row["torch_ms"] = row["ratio"] = None
    if device is not None:
        theirs = TorchStep(size, dtype, device)
        row["torch_ms"] = _median_ms(theirs, wait, rounds)
        row |= {f"torch_{part}_ms": ms for part, ms in _parts_ms(theirs, wait, 5).items()}
        row["ratio"] = row["minigrad_ms"] / row["torch_ms"]
    return row


def torch_device(name: str):
    """PyTorch's device that is the same as the backend's, and how to wait for it; (None, None) without one."""
    try:
        import torch
    except ImportError:
        return None, None
    if name == "cupy":
        return ("cuda", torch.cuda.synchronize) if torch.cuda.is_available() else (None, None)
    return "cpu", lambda: None


def facts(name: str, rows: int = 4096, rounds: int = 20) -> dict:
    """Behavior of the library and the device that the code relies on, or would like to know."""
    be = backend.get(name)
    xp, wait = be.xp, be.synchronize
    ones, big = xp.ones((8, 16), dtype="float32"), xp.ones((rows, 1024), dtype="float32")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    q, k = (be.send(rng.standard_normal((4, 8, 64, 32)).astype(np.float32)) for _ in range(2))
    half_q, half_k = q.astype("float16"), k.astype("float16")
    gy, ids = be.send(rng.standard_normal((4096, 64)).astype(np.float32)), rng.integers(0, 50, 4096)

    def bits(x):
        return be.to_numpy(x).tobytes()

    asked = {
        "float32 · np.float64 gives": lambda: str((ones * np.float64(2)).dtype),
        "float32 · 2.0 gives": lambda: str((ones * 2.0).dtype),
        "sum of 10,000 float16 ones": lambda: float(xp.ones((10_000, 4), dtype="float16").sum(axis=0)[0]),
        "max of a row of −inf": lambda: float(xp.full((2, 9), -math.inf, dtype="float32").max(axis=-1)[0]),
        "float32 product, largest error against float64": lambda: float(
            np.abs(be.to_numpy(be.send(a) @ be.send(b)) - exact).max()),
        "attention in float16, largest difference from float32": lambda: float(np.abs(
            be.to_numpy(be.attention(half_q, half_k, half_k, None, None, 0.2, None)).astype(np.float32)
            - be.to_numpy(be.attention(q, k, k, None, None, 0.2, None))).max()),
        "embedding gradient gives the same bits twice": lambda: bits(be.embedding_gradient(ids, gy, 50)) == bits(
            be.embedding_gradient(ids, gy, 50)),
        "column sum gives the same bits twice": lambda: bits(be.column_sum(gy)) == bits(be.column_sum(gy)),
        "host time of x + y, µs": lambda: _launch_us(lambda: ones + ones, wait),
        "host time of a fused softmax, µs": lambda: _launch_us(lambda: be.softmax(ones, 1), wait),
        "host time of a matrix product, µs": lambda: _launch_us(lambda: ones @ ones.T, wait),
        f"softmax of {rows} × 1024, µs": lambda: 1e3 * _median_ms(lambda: be.softmax(big, 1), wait, rounds),
        "the same by the base class's expression, µs": lambda: 1e3 * _median_ms(
            lambda: backend.Backend.softmax(be, big, 1), wait, rounds),
        "attention scores by matmul, µs": lambda: 1e3 * _median_ms(lambda: q @ k.swapaxes(-1, -2), wait, rounds),
        "attention scores as attention makes them, µs": lambda: 1e3 * _median_ms(
            lambda: be.attention(q, k, k, None, None, 0.2, None), wait, rounds),
    }
    return {"passed": None, **{what: _tried(answer) for what, answer in asked.items()}}


def _launch_us(action, wait, repeats: int = 100) -> float:
    """Time until the call returns, without waiting for its result."""
    action()
    wait()
    began = time.perf_counter()
    for _ in range(repeats):
        action()
    spent = time.perf_counter() - began
    wait()
    return 1e6 * spent / repeats


def _tried(answer):
    try:
        return answer()
    except Exception as error:                      # one question that cannot be answered must not stop the others
        return f"{type(error).__name__}: {error}".splitlines()[0]
