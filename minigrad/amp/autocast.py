"""autocast: matrix products in a narrow format, what needs range or precision in fp32, by a table."""
from __future__ import annotations

from minigrad.autograd import precision
from minigrad.backend import formats

#: PyTorch's tables, for the operations that minigrad has (aten/src/ATen/autocast_mode.cpp). What is not listed runs in
#: the format its inputs have; where formats meet, the wider one wins.
POLICIES = {
    "cuda": {
        "low": ("matmul", "linear", "scaled_dot_product_attention"),
        "fp32": ("exp", "expm1", "log", "log1p", "pow", "reciprocal", "rsqrt", "softplus", "layer_norm", "rms_norm", "norm",
                 "logsumexp", "softmax", "log_softmax", "sum", "prod", "cumsum", "cross_entropy"),
    },
    "cpu": {
        "low": ("matmul", "linear", "scaled_dot_product_attention"),
        "fp32": ("cross_entropy",),
    },
}


class autocast:
    """Inside, operations run in the format that the policy gives them; parameters and their gradients stay fp32.

    format: "fp16", "bf16", … for the operations that the policy calls low · policy: "cuda", "cpu", or a table like those
    in POLICIES. A weight is cast once per region. May be nested, and switched off by enabled=False. Call backward()
    outside: each operation remembers its formats. Integer and float64 tensors are left alone.

    >>> import minigrad as mg
    >>> layer, x = mg.nn.Linear(3, 2), mg.ones(1, 3)
    >>> with mg.amp.autocast("bf16"):
    ...     y = layer(x)
    >>> y.format, y.dtype.name, y.softmax(-1).format
    ('bf16', 'float32', 'bf16')
    """

    def __init__(self, format: str = "fp16", *, policy="cuda", enabled: bool = True):
        if formats.get(format).name == "fp32":
            raise ValueError("autocast to fp32 would change nothing; use enabled=False to switch it off")
        if isinstance(policy, str) and policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}: known are {', '.join(POLICIES)}, or give a table")
        table = POLICIES[policy] if isinstance(policy, str) else policy
        if set(table) - {"low", "fp32"}:
            raise ValueError(f"a policy has the classes 'low' and 'fp32'; got {', '.join(map(repr, table))}")
        self.format, self.enabled = format, enabled
        self.classes = {op: kind for kind, ops in table.items() for op in ops}

    def __enter__(self):
        precision.switch_on()
        region = precision.Autocast(self.format, self.classes) if self.enabled else None
        self._tokens = [*getattr(self, "_tokens", []), precision._autocast.set(region)]
        return self

    def __exit__(self, *error):
        precision._autocast.reset(self._tokens.pop())
