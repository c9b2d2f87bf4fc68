"""GradScaler: lift the loss so that small fp16 gradients do not vanish, and find the right height by trying."""
from __future__ import annotations

import math

from minigrad import backend as _backend
from minigrad.autograd import Tensor
from minigrad.backend import host

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class GradScaler:
    """Multiplies the loss by a scale S, divides the gradients by it, and skips a step whose gradients overflowed.

        loss·S → backward → gradients·S → unscale: g/S; any inf or NaN? → skip the step, S ← S·backoff_factor
                                                                    no? → step; after growth_interval of these S ← S·growth

    S is a float32; it stops growing before infinity. The states and errors are PyTorch's torch.amp.GradScaler's
    (arXiv 1710.03740). One GradScaler serves several optimizers; with enabled=False it does nothing.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = mg.optim.SGD([w], lr=0.1), GradScaler(init_scale=4.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad.tolist()                                     # 4 · 2w
    [8.0]
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> round(w.item(), 4)
    0.8
    """

    def __init__(self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
                 growth_interval: int = 2000, enabled: bool = True):
        if enabled and not growth_factor > 1.0:
            raise ValueError(f"GradScaler: growth_factor must be above 1; got {growth_factor}")
        if enabled and not backoff_factor < 1.0:
            raise ValueError(f"GradScaler: backoff_factor must be below 1; got {backoff_factor}")
        self._enabled = enabled
        self._scale, self._growth_tracker = float(host.np.float32(init_scale)), 0
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._optimizers: dict[int, tuple] = {}     # id -> (optimizer, stage, found_inf)

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """The current scale; 1 when disabled."""
        return self._scale if self._enabled else 1.0

    def scale(self, loss: Tensor) -> Tensor:
        """loss · S (in fp32: a scaled fp16 loss would overflow)."""
        if not self._enabled:
            return loss
        if not isinstance(loss, Tensor) or not host.is_floating(loss.dtype):
            raise TypeError(f"scale() needs a floating-point tensor, the loss; got {getattr(loss, 'dtype', type(loss))}")
        return loss * self._scale

    def unscale_(self, optimizer) -> None:
        """Divide the gradients of an optimizer's parameters by S, once per step: clip gradients after this.

        Raises RuntimeError when it was called already since the last update(), ValueError for fp16 gradients.
        """
        if not self._enabled:
            return
        stage, _ = self._state(optimizer)
        if stage == UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update()")
        if stage == STEPPED:
            raise RuntimeError("unscale_() is being called after step(); call update() first")
        found = self._unscale(optimizer)
        self._optimizers[id(optimizer)] = (optimizer, UNSCALED, found)

    def step(self, optimizer) -> None:
        """optimizer.step(), unless a gradient is inf or NaN; unscales first if unscale_() was not called.

        Raises RuntimeError when called twice without update() in between. `skipped(optimizer)` tells what happened.
        """
        if not self._enabled:
            optimizer.step()
            return
        stage, found = self._state(optimizer)
        if stage == STEPPED:
            raise RuntimeError("step() has already been called on this optimizer since the last update()")
        if stage == READY:
            self.unscale_(optimizer)
            found = self._optimizers[id(optimizer)][2]
        if not found:
            optimizer.step()
        self._optimizers[id(optimizer)] = (optimizer, STEPPED, found)

    def skipped(self, optimizer) -> bool:
        """Whether the step since the last update() was skipped: then skip the learning-rate schedule's step too."""
        return self._enabled and bool(self._state(optimizer)[1])

    def update(self, new_scale: float | None = None) -> None:
        """Adapt S to what was found since the last call; call once per iteration, after all step()s.

        new_scale: set S to this instead. Raises AssertionError when no gradients were checked since the last call.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(host.np.float32(new_scale))
        else:
            found = [found for _, _, found in self._optimizers.values() if found is not None]
            assert found, "update(): no gradients were checked since the last update(); call step() or unscale_() first"
            if any(found):
                self._scale = float(host.np.float32(self._scale * self._backoff_factor))
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    with host.np.errstate(over="ignore"):
                        grown = float(host.np.float32(self._scale * self._growth_factor))
                    self._scale = grown if math.isfinite(grown) else self._scale
                    self._growth_tracker = 0
        self._optimizers.clear()

    def state_dict(self) -> dict:
        """Everything needed to continue, as plain numbers; empty when disabled."""
        if not self._enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker}

    def load_state_dict(self, state: dict) -> None:
        """Continue from what state_dict gave; RuntimeError for the state of a disabled scaler."""
        if not self._enabled:
            return
        if missing := [key for key in self.state_dict() if key not in state]:
            raise RuntimeError(f"this is not the state of an enabled GradScaler: it lacks {', '.join(missing)}")
        self._scale, self._growth_tracker = float(state["scale"]), int(state["_growth_tracker"])
        self._growth_factor, self._backoff_factor = state["growth_factor"], state["backoff_factor"]
        self._growth_interval = state["growth_interval"]

    def _state(self, optimizer):
        _, stage, found = self._optimizers.get(id(optimizer), (optimizer, READY, None))
        return stage, found

    def _unscale(self, optimizer) -> bool | None:
        """g ← g/S for every gradient; whether any was not finite (one look at the device), None without gradients."""
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for p in params:
            if p.format == "fp16" or p.grad.dtype.name == "float16":
                raise ValueError("attempting to unscale fp16 gradients: the trained weights must be fp32 (under autocast they "
                                 "are), or what vanished in their gradients is lost already")
        if not params:
            return None
        be = _backend.of(*(p.grad for p in params))
        finite = be.xp.stack([be.asarray(be.xp.isfinite(p.grad).all()) for p in params]).all()
        with host.np.errstate(all="ignore"):        # after very many skipped steps S itself underflows
            inverse = (1.0 / host.np.float64(self._scale)).astype(host.np.float32)
        with be.quiet():
            for p in params:
                p.grad = p.grad * inverse
        return not bool(finite)
