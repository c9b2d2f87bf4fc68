"""KV cache: the keys and values of the tokens so far, so that decoding computes each of them once."""
from __future__ import annotations

from minigrad import backend as _backend
from minigrad.autograd import Tensor, is_grad_enabled
from minigrad.backend import host


class KVCache:
    """Preallocated keys and values of every layer, each buffer (B, H, capacity, d).

    `length` tokens are in it. `layers[i].append(k, v)` writes the next T tokens of layer i in place; after all
    layers have written, the model calls `advance(T)`. Holds plain arrays, so it works under no_grad only.

    >>> import minigrad as mg
    >>> cache = mg.models.KVCache(n_layers=2, batch=3, n_heads=4, capacity=8, head_dim=16)
    >>> with mg.no_grad():
    ...     k, v = cache.layers[0].append(mg.ones(3, 4, 5, 16), mg.ones(3, 4, 5, 16))
    >>> k.shape, cache.length
    ((3, 4, 5, 16), 0)
    """

    def __init__(self, n_layers: int, batch: int, n_heads: int, capacity: int, head_dim: int, *, dtype="float32",
                 backend=None):
        self.backend = _backend.current() if backend is None else backend
        self.batch, self.capacity, self.length = batch, capacity, 0
        self.shape, self.dtype = (batch, n_heads, capacity, head_dim), host.dtype(dtype)
        self.layers = [LayerCache(self) for _ in range(n_layers)]

    def advance(self, tokens: int) -> None:
        """All layers have appended `tokens` tokens: count them."""
        self.length += tokens

    def select(self, rows) -> KVCache:
        """Keep only these rows of the batch (host integers, in this order); returns self."""
        rows = host.ids(rows, self.batch, "cache row")
        if rows.ndim != 1:
            raise ValueError(f"cache rows must be a 1-D list of integers; got shape {rows.shape}")
        index = self.backend.send(rows)
        for layer in self.layers:
            layer.k, layer.v = layer.k[index], layer.v[index]
        self.batch = len(rows)
        self.shape = (self.batch, *self.shape[1:])
        return self

    def nbytes(self) -> int:
        """Bytes held by all buffers."""
        return sum(layer.k.nbytes + layer.v.nbytes for layer in self.layers)


class LayerCache:
    """One layer's share of a KVCache."""

    def __init__(self, owner: KVCache):
        xp = owner.backend.xp
        self.owner = owner
        self.k, self.v = xp.zeros(owner.shape, dtype=owner.dtype), xp.zeros(owner.shape, dtype=owner.dtype)
        self.front = 0                              # rows before the first token: a prefix

    def append(self, k: Tensor, v: Tensor, prefix=None) -> tuple[Tensor, Tensor]:
        """Write k and v, each (B, H, T, d), behind the tokens so far; gives all, (B, H, length + T, d).

        prefix: batch -> (k, v), each (B, H, P, d). It is asked once, before the first token, and stays in front.
        """
        owner = self.owner
        if is_grad_enabled():
            raise RuntimeError("a KV cache overwrites its arrays in place, which would corrupt a recorded graph: use "
                               "it inside `with mg.no_grad():`, or train without a cache")
        batch, heads, capacity, size = owner.shape
        tokens = k.shape[2]
        if k.shape != (batch, heads, tokens, size) or v.shape != k.shape:
            raise ValueError(f"this KV cache holds (batch={batch}, heads={heads}, tokens, {size}); got keys "
                             f"{tuple(k.shape)} and values {tuple(v.shape)}. Make one for this batch with "
                             "gpt.new_cache(batch)")
        if k.dtype != owner.dtype:
            raise TypeError(f"this KV cache holds {owner.dtype}; got {k.dtype}. Make a new one with "
                            "gpt.new_cache(batch)")
        if owner.length + tokens > capacity:
            raise ValueError(f"the KV cache is full: {owner.length} tokens are in it, {tokens} more do not fit into "
                             f"{capacity}")
        if prefix is not None and not self.front:
            self._put_in_front(*prefix(batch))
        start = self.front + owner.length
        stop = start + tokens
        self.k[:, :, start:stop] = k.data
        self.v[:, :, start:stop] = v.data
        return Tensor(self.k[:, :, :stop]), Tensor(self.v[:, :, :stop])

    def _put_in_front(self, k: Tensor, v: Tensor) -> None:
        xp = self.owner.backend.xp
        self.k, self.v = xp.concatenate([k.data, self.k], axis=2), xp.concatenate([v.data, self.v], axis=2)
        self.front = k.shape[2]
