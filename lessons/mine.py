"""One transformer made of the lessons' functions: yours where they are finished, the solutions' for the rest.

    parts = gather()                    every seat filled, and who fills it
    train(parts, steps=60)              the losses; train(None, …) is the same with the engine's own operations

A function is yours when it passes all checks of its exercise. It runs inside the live engine, and its calls are counted.
"""
from __future__ import annotations

import contextlib
import os
import traceback

import numpy as np

import minigrad as mg
from lessons import source
from lessons.engine import operation
from lessons.judge import verdicts
from lessons.kit import calls
from minigrad.nn import functional as F

# Each of these exercises has a place in the model, in its training or in its reading.
SEATS = ("03.1", "03.4", "04.4", "04.5", "05.3", "05.4", "05.5", "05.6", "06.1", "06.2", "06.3", "06.4",
         "06.5", "06.6", "07.1", "07.2", "07.3", "07.4", "07.5", "07.6", "07.7")


class Part(calls):
    """A function with its exercise, whether it is yours, and how often it was called."""

    def __init__(self, exercise: source.Exercise, function, yours: bool):
        super().__init__(function)
        self.exercise, self.yours = exercise, yours


def finished(lesson: source.Lesson):
    """(your module, the ids of its exercises that pass all their checks). Raises what loading your file raises."""
    yours = source.submission(lesson.path("exercises.py"), lesson)
    return yours, {e.id for e in lesson.exercises if all(v.state == "passed" for v in verdicts(lesson, yours, e.id))}


def gather(mine: bool = True, lessons: list | None = None) -> dict[str, Part]:
    """{function name: Part} for every seat. mine=False: the solutions' alone. Files that cannot be read are reported."""
    mine = mine and os.environ.get("MINIGRAD_LESSONS_IMPL") != "solution"       # set while notebooks are built
    known = {lesson.number: lesson for lesson in (lessons or source.lessons())}
    parts = {}
    for number in dict.fromkeys(seat.split(".")[0] for seat in SEATS):
        lesson = known[number]
        solution, yours, done = source.load(lesson.path("solution.py")), None, set()
        if mine:
            try:
                yours, done = finished(lesson)
            except Exception as error:
                print(f"{lesson.name}/exercises.py cannot be used: {type(error).__name__}: {error}")
        for e in lesson.exercises:
            if e.id in SEATS:
                parts[e.name] = Part(e, getattr(yours if e.id in done else solution, e.name), e.id in done)
    return parts


# ---- the model ------------------------------------------------------------------------------------------------------

class SeatedBlock(mg.nn.Module):
    """A block of the engine's GPT whose order, and whose cutting into heads, are the lessons'."""

    def __init__(self, block, parts):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp, self.parts = block.norm1, block.attn, block.norm2, block.mlp, parts
        H = block.attn.n_heads
        split, merge = parts["split_heads"], parts["merge_heads"]
        self.split = operation(lambda x: split(x, H), lambda gy, x: merge(gy))          # each is the other's gradient
        self.merge = operation(merge, lambda gy, y: split(gy, H))

    def forward(self, x, cache=None, rotation=None):
        """(B, T, D) -> (B, T, D)."""
        def attention(h):
            q, k, v = (self.split(project(h)) for project in (self.attn.q_proj, self.attn.k_proj, self.attn.v_proj))
            if cache is not None:
                k, v = cache.append(k, v)
            return self.attn.o_proj(self.merge(F.scaled_dot_product_attention(q, k, v, is_causal=True,
                                                                              causal_offset=k.shape[2] - q.shape[2])))
        return self.parts["block"](x, self.norm1, attention, self.norm2, self.mlp)


def make(parts, config, seed: int = 0):
    """A GPT with seeded weights; with parts, their blocks in it (the weights are the same)."""
    mg.manual_seed(seed)
    model = mg.models.GPT(config)
    if parts:
        model.blocks = mg.nn.ModuleList(SeatedBlock(block, parts) for block in model.blocks)
    return model


@contextlib.contextmanager
def installed(parts):
    """Inside, the engine's operations are the lessons' functions. With parts=None nothing is changed."""
    if not parts:
        yield
        return
    p = parts

    def flat(x):
        return x.reshape(-1, x.shape[-1])

    def linear_vjp(gy, y, x, w, *b):
        if b:
            gx, gw, gb = p["linear_vjp"](flat(gy), flat(x), w)
            return gx.reshape(x.shape), gw, gb
        gx, gw = p["matmul_vjp"](gy, x, w.T)                # y = x·wᵀ with one wᵀ for the whole batch: (B, in, out)
        return gx, p["unbroadcast"](gw, w.T.shape).T

    def loss_vjp(gy, y, logits, targets, ignore_index, label_smoothing):
        rows, g = targets != ignore_index, np.zeros_like(logits)
        share = gy[rows][0] * rows.sum()                    # the loss is a mean, so every row that counts has the same gy
        g[rows] = p["cross_entropy_vjp"](share, logits[rows], targets[rows])
        return (g,)

    def norm(x, w, b, eps):
        return p["layer_norm"](flat(x), w, b, eps).reshape(x.shape).astype(x.dtype)

    def norm_vjp(gy, y, x, w, b, eps):
        gx, gw, gb = p["layer_norm_vjp"](flat(gy), flat(x), w, eps)
        return gx.reshape(x.shape), gw, gb

    def weights(q, k):
        return p["weights"](q, k, p["visible"](q.shape[2], k.shape[2], k.shape[2] - q.shape[2]))

    def attention(q, k, v, **options):
        if q.shape[2] == 1 and k.shape[2] > 1:              # one new token behind a cache
            y = np.empty_like(q)
            for at in np.ndindex(q.shape[:2]):
                y[at] = p["step"](q[at], k[at][-1:], v[at][-1:], k[at][:-1], v[at][:-1])[0]
            return y
        return (weights(q, k) @ v).astype(q.dtype)

    with contextlib.ExitStack() as stack:
        for op, forward, vjp in (
                ("linear", None, linear_vjp), ("layer_norm", norm, norm_vjp), ("cross_entropy", None, loss_vjp),
                ("add", None, lambda gy, y, a, b: (p["unbroadcast"](gy, a.shape), p["unbroadcast"](gy, b.shape))),
                ("gelu", lambda x: p["gelu"](x).astype(x.dtype), None),
                ("embedding", None, lambda gy, y, w, ids: (p["embedding_vjp"](flat(gy), np.ravel(ids), len(w)),)),
                ("scaled_dot_product_attention", attention,
                 lambda gy, y, q, k, v, **_: tuple(p["attention_vjp"](gy, weights(q, k), q, k, v)))):
            stack.enter_context(mg.override(op, forward=forward, vjp=vjp))
        yield


# ---- training and reading -------------------------------------------------------------------------------------------

class Optimizer(mg.optim.Optimizer):
    """AdamW made of the lessons' adam and adamw."""

    def __init__(self, params, lr: float, parts):
        self.parts = parts
        super().__init__(params, {"lr": lr, "weight_decay": 0.01})

    def state_names(self, group):
        """The two running means."""
        return "m", "v"

    def update(self, group, backend, p, g, state, step):
        """One step on 1-D arrays, in place."""
        p[...], state["m"][...], state["v"][...] = self.parts["adamw"](self.parts["adam"], p, g, state["m"], state["v"], step,
                                                                       group["lr"], group["weight_decay"])


WORDS = """apple bed bird boat book box bread car cat chair clock cow cup day dog door duck egg fish flag game girl glass hand
head horse house jump key king lamp leaf man milk moon night rain red ring ship""".split()
OTHERS = "bell bike cap coat deer farm fog goat hen lake nail path pen pig pool road seat sheep song wing".split()


def examples(words):
    """[(word, accepted answers)] of the task `pronounce`."""
    task = mg.tasks.get("pronounce")
    return [(word, task.accepted(word)) for word in words]


def train(parts, steps: int = 60, lr: float = 1e-2, seed: int = 0, step_function=None, on_step=None):
    """(model, losses): a GPT of two layers learns to read the WORDS; on_step(step, loss) is told each loss."""
    tokenizer = mg.tasks.Tokenizer()
    config = mg.models.GPTConfig(tokenizer.vocab_size, context=16, d_model=32, n_layers=2, n_heads=2)
    model, losses, warmup = make(parts, config, seed), [], max(1, steps // 10)
    weights = list(model.parameters())
    batches = mg.tasks.Batches(mg.tasks.encode_examples(tokenizer, examples(WORDS)), 20, rng=seed, bucket=False).forever()
    optimizer = Optimizer(weights, lr, parts) if parts else mg.optim.AdamW(weights, lr=lr)

    def clip(weights):
        if not parts:
            mg.optim.clip_grad_norm_(weights, 1.0)
            return
        for p, g in zip(weights, parts["clip"]([p.grad for p in weights], 1.0)[0], strict=True):
            p.grad = np.asarray(g, dtype=np.float32)

    for step in range(steps):
        batch = next(batches)
        rate = parts["schedule"] if parts else mg.optim.schedules.cosine
        optimizer.param_groups[0]["lr"] = float(rate(step, steps, warmup, lr))
        with installed(parts):
            one = step_function or training_step
            losses.append(one(lambda batch=batch: mg.training.loss_on(model, batch), weights, optimizer, clip))
        if on_step:
            on_step(step, losses[-1])
    return model, losses


def training_step(loss_of, parameters, optimizer, clip) -> float:
    """One step; lesson 20 has you write it."""
    optimizer.zero_grad()
    loss = loss_of()
    loss.backward()
    clip(parameters)
    optimizer.step()
    return loss.item()


def read(model, parts, word: str) -> list[str]:
    """The sounds that the model writes for a word, by the lessons' greedy, and with a cache by their step."""
    tokenizer = mg.tasks.Tokenizer()
    cache, rows, length = model.new_cache(1), [], 0

    def logits_of(ids):
        nonlocal length
        with mg.no_grad(), installed(parts):
            rows.append(model([ids[length:]], cache=cache).numpy()[0])
        length = len(ids)
        return np.concatenate(rows)
    return tokenizer.decode(parts["greedy"](logits_of, tokenizer.encode_source(word), tokenizer.end_id, 8))


def loss_on(model, parts, examples) -> float:
    """The mean loss of these words, in nats per symbol, by the lessons' next_token_loss."""
    tokenizer, total, count = mg.tasks.Tokenizer(), 0.0, 0
    for sequence in mg.tasks.encode_examples(tokenizer, examples):
        with mg.no_grad(), installed(parts):
            logits = model([sequence.ids[:-1]]).numpy()[0]
        n = len(sequence.ids) - sequence.target_start
        total, count = total + n * float(parts["next_token_loss"](logits, sequence.ids, sequence.target_start)), count + n
    return total / count


def report(mine: bool = True, steps: int = 60) -> int:
    """`python -m lessons train [--mine]`: train beside the engine's own operations; 0 if both go the same way."""
    mg.set_num_threads(1)                                   # small matrices: a second thread only waits
    parts = gather(mine)
    yours = sum(part.yours for part in parts.values())
    print(f"yours: {yours} of {len(parts)}" + ("; the solutions' for the rest" if yours < len(parts) else ""))
    _, engines = train(None, steps)
    print("\nstep    these functions    the engine's own        (loss, nats per symbol)")

    def show(step, loss):
        if step % max(1, steps // 6) == 0 or step == steps - 1:
            print(f"{step:4}    {loss:15.4f}    {engines[step]:16.4f}", flush=True)
    try:
        model, losses = train(parts, steps, on_step=show)
    except Exception as error:
        places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith("exercises.py")]
        if not places:
            raise
        print(f"{places[-1].filename}:{places[-1].lineno}: {type(error).__name__}: {error}\n  This function passes its checks "
              "and stops inside the engine; what does it get here that it did not get there?")
        return 1
    print("\nWords that it was trained on: "
          + ",  ".join(f"{word} -> {' '.join(read(model, parts, word)) or '(nothing)'}" for word in WORDS[1::9]))
    print(f"Its loss on {len(OTHERS)} words that it has not seen: {loss_on(model, parts, examples(OTHERS)):.2f}\n")
    for part in parts.values():
        who = "[x] yours   " if part.yours else "[ ] solution"
        print(f"  {who}  {part.exercise.id} {part.exercise.name:18} {part.count:7,} calls")
    for step, (a, b) in enumerate(zip(losses, engines, strict=True)):
        if not abs(a - b) <= 0.02 * b:
            print(f"\nThe two runs part at step {step}: {a:.4f} and {b:.4f}. A function that passes its checks and still "
                  "differs here is worth a report")
            return 1
    return 0
