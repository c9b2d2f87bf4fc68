"""FacT: the changes of all weight matrices as one tensor, factorized; its outer factors belong to the whole model."""
from __future__ import annotations

import math
from dataclasses import dataclass

from minigrad.autograd import Tensor, no_grad
from minigrad.backend import host
from minigrad.nn import Linear, Module, Parameter
from minigrad.nn import functional as F
from minigrad.peft.layers import Mergeable
from minigrad.peft.method import Method, one_of, parameter, positive, whole_number
from minigrad.peft.registry import register
from minigrad.peft.targeted import Targeted, check_dropout


class FacTLinear(Mergeable):
    """A linear layer whose change is cut into d × d slices: slice (i, j) of ΔW is s·V Σ_ij U.

    U (r, d), V (d, r) and, in the Tucker form, the core C (r, r²) are the same objects in every layer.
    """

    def __init__(self, base_layer: Linear, method: FacT, path: str, rng, common):
        super().__init__(base_layer)
        weight, r = base_layer.weight, method.rank
        self.fact_U, self.fact_V, self.fact_C = common
        self.width = self.fact_U.shape[1]                                   # d
        self.pieces = tuple(math.ceil(n / self.width) for n in weight.shape)        # slices per column, per row: (m, n)
        m, n = self.pieces
        shape = (m * r, n * r) if method.form == "tt" else (m * n, r)
        self.fact_S = parameter(rng.uniform(-1.0, 1.0, shape) / math.sqrt(r), weight)       # Σ itself, or its mixture of C
        self.scale, self.dropout = method.scale, method.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        y = self.base_layer(x)
        if self.merged:
            return y
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        (m, n), d, rows = self.pieces, self.width, x.shape[:-1]
        if x.shape[-1] < n * d:                                             # the last slice is cut off: fill it with zeros
            x = F.pad(x, (0, n * d - x.shape[-1]))
        z = F.linear(x.reshape(*rows, n, d), self.fact_U)                   # (…, n, d) -> (…, n, r)
        z = F.linear(z.reshape(*rows, -1), self.core() * self.scale)        # (…, n·r) -> (…, m·r)
        z = F.linear(z.reshape(*rows, m, -1), self.fact_V)                  # (…, m, r) -> (…, m, d)
        return y + z.reshape(*rows, m * d)[..., :y.shape[-1]]               # -> (…, out)

    def core(self) -> Tensor:
        """All Σ_ij of this layer, (m·r, n·r)."""
        if self.fact_C is None:
            return self.fact_S
        (m, n), r = self.pieces, self.fact_U.shape[0]
        S = (self.fact_S @ self.fact_C).reshape(m, n, r, r)                 # slice by slice: Σ_k P_k · C_k
        return S.transpose(1, 2).reshape(m * r, n * r)                      # (m, n, r, r) -> (m, r, n, r)

    def delta_weight(self):
        """ΔW = s·(V Σ_ij U)_ij, its slices put together and cut to size; a raw array (out, in)."""
        U, V, (m, n) = self.fact_U.data, self.fact_V.data, self.pieces
        out_features, in_features = self.linear.weight.shape
        with no_grad():
            S = (self.core() * self.scale).data.reshape(m, V.shape[1], n, U.shape[0])
        slices = V @ S.transpose(0, 2, 1, 3) @ U                            # (m, n, r, r) -> (m, n, d, d)
        whole = slices.transpose(0, 2, 1, 3).reshape(m * self.width, n * self.width)
        return whole[:out_features, :in_features]


@register
@dataclass(frozen=True)
class FacT(Targeted):
    """ΔW_i = s·V Σ_i U for every d × d slice i of the model's weights: U (r, d) and V (d, r) are shared by all of them.

    A block has 12 slices: q, k, v, o, four of the MLP's first layer (one below the other) and four of its second (side by
    side); where d_ff is no multiple of d, the last slice is cut off.
    form: "tt" (tensor train): Σ_i is trained freely, r² numbers a slice · "tk" (Tucker): Σ_i = Σ_k P_ik·C_k, mixed from r
    matrices C_k that are shared as well, r numbers a slice. scale: s; the paper chooses it for each task, 0.01 … 100.
    Count: 2dr + 12L·r² (tt), 2dr + 12L·r + r³ (tk). Starts at the base: yes (V = 0). Mergeable: yes.
    Paper: arXiv 2212.03145.

    >>> import minigrad as mg
    >>> config = mg.models.GPTConfig(vocab_size=80)
    >>> FacT(rank=8).count(config), FacT(rank=8, form="tk").count(config)   # 2048 + 48 · 64, 2048 + 48 · 8 + 512
    (5120, 2944)
    """

    rank: int = 8
    form: str = "tt"
    scale: float = 1.0
    targets: tuple[str, ...] | str = "all-linear"
    dropout: float = 0.0

    name = "fact"
    paper = "2212.03145"
    formula = "2dr + 12L·r² (tt), 2dr + 12L·r + r³ (tk)"
    extra_latency = "none once merged; else three thin layers per target"
    layer = FacTLinear
    needs = Method.needs                            # d says what a slice is

    def __post_init__(self):
        super().__post_init__()
        whole_number(self.rank, "FacT: rank")
        positive(self.scale, "FacT: scale")
        one_of(self.form, ("tt", "tk"), "FacT: form")
        check_dropout(self)

    def attach(self, model: Module, rng) -> Module:
        """Wrap every target."""
        self._check(model.config.d_model)
        return super().attach(model, rng)

    def common(self, model: Module, shapes: dict, rng) -> tuple[Parameter, Parameter, Parameter | None]:
        """U, V and the core."""
        r, d, like = self.rank, model.config.d_model, model.norm.weight
        U = parameter(rng.uniform(-1.0, 1.0, (r, d)) / math.sqrt(d), like)
        C = parameter(rng.uniform(-1.0, 1.0, (r, r * r)) / math.sqrt(r), like) if self.form == "tk" else None
        return U, parameter(host.np.zeros((d, r)), like), C

    def size(self, path: str, out_features: int, in_features: int) -> int:
        """Nothing here: how many slices a matrix has depends on d, see common_size."""
        return 0

    def common_size(self, config, shapes: dict) -> int:
        """U, V, the core, and what each slice has."""
        r, d = self.rank, config.d_model
        self._check(d)
        slices = sum(math.ceil(out_features / d) * math.ceil(in_features / d) for out_features, in_features in shapes.values())
        return 2 * d * r + (slices * r * r if self.form == "tt" else slices * r + r ** 3)

    def _check(self, d: int) -> None:
        if self.rank > d:
            raise ValueError(f"FacT: rank {self.rank} is too large for slices of {d} × {d}: choose one of at most {d}")
