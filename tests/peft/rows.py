"""The rows of the universal tests: for every registered method the settings under which it is tested.

A method without a row fails test_every_registered_method_has_a_row. `start` says what the adapted model does before the
first step: "exact" is the base bit by bit, "close" nearly so, "differs" anything else. `drawn` says whether initial values
are random.
"""
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import minigrad as mg
from minigrad import peft
from minigrad.nn import functional as F
from minigrad.peft import Adapter, FullFineTuning, LoRA, Method, PrefixTuning, PromptTuning, TopK
from minigrad.peft.lora import lora_layers

TINY = dict(vocab_size=11, context=16, d_model=8, n_layers=2, n_heads=2)


@dataclass(frozen=True)
class Row:
    method: Method
    start: str = "exact"
    lr: float = 3e-2
    drawn: bool = True
    hold: Callable | None = None                    # called before finite differences: fixes what backward holds constant

    def __str__(self):
        plain = repr(self.method).replace("'", "").replace(" ", "")
        return plain if len(plain) < 60 else plain[:57] + "..."


def hold_norms(adapted):
    """DoRA's gradient is that of the function in which the norm stays what it is."""
    for m in lora_layers(adapted.model).values():
        m.norm = functools.partial(lambda norm: norm, m.norm())


ROWS = [
    Row(FullFineTuning(), lr=1e-2, drawn=False),
    Row(TopK(1), lr=1e-2, drawn=False),
    Row(TopK(0), drawn=False),
    Row(TopK(2, head=False), lr=1e-2, drawn=False),
    Row(peft.BitFit(), drawn=False),
    Row(peft.BitFit("query_and_mlp"), lr=1e-1, drawn=False),
    Row(peft.LayerNormTuning(), drawn=False),
    Row(Adapter(bottleneck=4)),
    Row(Adapter(bottleneck=3, init="houlsby"), start="close"),
    Row(peft.ResidualAdapter(), drawn=False),
    Row(peft.ResidualAdapter(norms=True), drawn=False),
    Row(peft.AdapterL(4)),
    Row(peft.AdapterP(4)),
    Row(peft.ParallelAdapter(4)),
    Row(peft.ScaledParallelAdapter(3, where="attn", scale=2.0, learned=True)),
    Row(peft.AdapterDrop(4)),
    Row(PrefixTuning(length=3), start="differs", lr=1e-1),
    Row(PrefixTuning(length=3, positions="keep", init="random"), start="differs", lr=1e-1),
    Row(PrefixTuning(length=2, hidden=5), start="differs"),
    Row(peft.InfixTuning(length=3, after=3), start="differs", lr=1e-1),
    Row(peft.LlamaAdapter(length=3), lr=1e-1),
    Row(PromptTuning(length=3), start="differs", lr=1e-1),
    Row(PromptTuning(length=2, init="random"), start="differs", lr=1e-1),
    Row(peft.PTuning(("p", "p", "x", 7, "x", "p")), start="differs", lr=1e-1),
    Row(peft.PTuning(("p", "x", "p"), hidden=5), start="differs"),
    Row(peft.PreEmbed(2, 2), start="differs", lr=1e-1),
    Row(peft.PreLayer(2, 1, after=2), start="differs", lr=1e-1),
    Row(LoRA(rank=2, alpha=4)),
    Row(LoRA(rank=2, targets="all-linear", scaling="alpha/sqrt(r)", init="gaussian", bias="all")),
    Row(LoRA(rank=1, alpha=2, targets=("head", "blocks.1.*.up_proj", "o_proj"), scaling="alpha", init="zero_a",
             dropout=0.25, bias="lora_only")),
    Row(LoRA(rank=3, init="random", targets="attn.k_proj"), start="differs"),
    Row(LoRA(rank=2, targets=("token_embedding", "k_proj"), scaling="alpha")),
    Row(LoRA(rank=2, targets="re:.*(up|k)_proj", layers=(1,), rank_pattern={"up_proj": 3}, alpha_pattern={"attn.k_proj": 5})),
    Row(LoRA(rank=2, targets=("up_proj", "v_proj"), slices=(False, True), dropout=0.25)),
    Row(LoRA(rank=2, targets="all-linear", init="olora", lora_bias=True), drawn=False),
    Row(peft.LoRAPlus(rank=2, alpha=4, ratio=4.0)),
    Row(peft.LoRAPlus(rank=1, targets=("token_embedding", "v_proj"), bias="lora_only"), lr=1e-2),
    Row(peft.LoRAFA(rank=3, alpha=6)),
    Row(peft.LoRAFA(rank=2, init="gaussian", targets="all-linear", bias="all", dropout=0.25)),
    Row(peft.DoRA(rank=2, alpha=4), hold=hold_norms),
    Row(peft.DoRA(rank=1, targets=("head", "up_proj", "o_proj"), dropout=0.25, bias="all", init="olora"), hold=hold_norms,
        drawn=False),
    Row(peft.PiSSA(rank=2, alpha=4), drawn=False),
    Row(peft.LongLoRA(rank=2, group=2), lr=1e-2),
    Row(peft.LongLoRA(rank=2, group=4, embeddings_and_norms=False)),
    Row(peft.AdaLoRA(rank=2, initial_rank=3, interval=2)),
    Row(peft.AdaLoRA(rank=2, initial_rank=4, targets=("up_proj", "head"), tinit=0, tfinal=1, interval=1, dropout=0.25)),
    Row(peft.AdaLoRA(rank=2, initial_rank=4, targets=("blocks.0.attn.q_proj", "blocks.1.mlp.up_proj"), ranks=(3, 1))),
    Row(peft.MultiLoRA(branches=2, rank=2)),
    Row(peft.MultiLoRA(branches=3, rank=1, targets="all-linear", scaling="vector", dropout=0.25)),
    Row(peft.GLoRA(rank=2)),
    Row(peft.GLoRA(rank=2, targets=("down_proj", "k_proj", "head"), A="vector", B="constant", C="vector", D="vector",
                   E="vector"), drawn=False),
    Row(peft.GLoRA(rank=3, targets="o_proj", A="none", B="vector", C="lora", D="none", E="none")),
    Row(peft.LNLoRA(rank=2, alpha=4)),
    Row(peft.LNLoRA(rank=3, targets=("down_proj", "q_proj"), pos="mid", dropout=0.25)),
    Row(peft.FacT(rank=2)),
    Row(peft.FacT(rank=3, form="tk", scale=2.0, dropout=0.25)),
    Row(peft.FacT(rank=2, targets=("down_proj", "head"))),
    Row(peft.TiedLoRA(rank=2, alpha=4)),
    Row(peft.TiedLoRA(rank=3, targets=("down_proj", "up_proj", "k_proj"), train=("u", "v")), drawn=False, lr=1e-1),
    Row(peft.TiedLoRA(rank=2, alpha=1, targets="all-linear", train=("A", "u"), dropout=0.25), drawn=False),
    Row(peft.VeRA(rank=4), drawn=False, lr=1e-1),
    Row(peft.VeRA(rank=9, targets="all-linear", d_initial=0.5, dropout=0.25, save_projection=False), drawn=False, lr=1e-1),
    Row(peft.IA3(), drawn=False, lr=1e-1),
    Row(peft.IA3(("q_proj", "blocks.1.mlp.up_proj", "head"), feedforward=("q_proj",)), drawn=False, lr=1e-1),
    Row(peft.IntrinsicDimension(20), lr=1e-1, drawn=False),
    Row(peft.IntrinsicDimension(15, projection="dense"), lr=1e-1, drawn=False),
    Row(peft.SAID(25, projection="sparse"), lr=1e-1, drawn=False),
    Row(peft.Combined((PrefixTuning(length=2), peft.ScaledParallelAdapter(3))), start="differs"),
    Row(peft.Combined((LoRA(rank=2), Adapter(bottleneck=3)))),
    Row(peft.Combined((LoRA(rank=2), peft.BitFit())), lr=1e-2),
]


def make_base(dtype="float32", **changes):
    """A small GPT on the current backend in which every weight matters (no zero biases, no unit norms)."""
    mg.manual_seed(1)
    model = mg.models.GPT(mg.models.GPTConfig(**{**TINY, **changes})).to(dtype=dtype)
    rng = np.random.default_rng(2)
    for p in model.parameters():
        p.data = p.backend.send((p.numpy() + 0.2 * rng.normal(size=p.shape)).astype(dtype))
    return model


def adapt(base, method, seed=3, **kwargs):
    return mg.peft.apply(base, method, rng=np.random.default_rng(seed), **kwargs)


def make_ids(batch=3, tokens=6, seed=4):
    return np.random.default_rng(seed).integers(0, TINY["vocab_size"], (batch, tokens))


ALTERNATING = np.array([[2, 5, 2, 5, 2, 5], [5, 2, 5, 2, 5, 2]])     # what U8 learns


def loss_of(model, ids):
    """Next-token loss on ids (B, T + 1)."""
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[2]), ids[:, 1:].reshape(-1))


def train(adapted, steps, lr, ids, seen=None):
    """Plain AdamW steps with every hook of the contract; the list of losses. seen: collects {name: last gradient}."""
    optimizer = mg.optim.AdamW(adapted.param_groups(lr), lr=lr, weight_decay=0.0)
    losses = []
    for step in range(steps):
        adapted.before_step(step, steps)
        loss = loss_of(adapted, ids)
        penalty = adapted.penalty()
        loss = loss if penalty is None else loss + penalty
        adapted.zero_grad()
        loss.backward()
        if seen is not None:
            seen.update((n, p.grad) for n, p in adapted.named_trainable_parameters() if p.grad is not None)
        optimizer.step()
        adapted.after_step(step, steps)
        losses.append(loss.item())
    return losses


def randomize(adapted, scale=0.3, seed=5):
    """Move everything the adapter has of its own, so that no B is zero: a test on zeros proves nothing."""
    rng = np.random.default_rng(seed)
    for p in adapted.own_parameters().values():
        p.data = p.backend.send((p.numpy() + scale * rng.normal(size=p.shape)).astype(p.numpy().dtype))
    return adapted


def logits(model, ids, **kwargs):
    with mg.no_grad():
        return model(ids, **kwargs).numpy()
