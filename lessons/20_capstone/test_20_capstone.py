"""The checks of lesson 20. They import nothing of yours: `ex` is the file under test."""
import pathlib
import tempfile

import numpy as np

import minigrad as mg
from lessons import engine, mine
from lessons.kit import calls, cases, check, exercise, rng, same, unchanged

SOUNDS = {"desk": "D EH S K", "bus": "B AH S", "cat": "K AE T", "dog": "D AO G", "horse": "HH AO R S", "bridge": "B R IH JH", "tree": "T R IY", "laugh": "L AE F",
          "dish": "D IH SH", "cloth": "K L AO TH", "rose": "R OW Z", "ball": "B AO L", "watch": "W AA CH", "cup": "K AH P",
          "book": "B UH K", "thing": "TH IH NG", "garage": "G ER AA ZH"}
PLURALS = {"desk": "D EH S K S", "bus": "B AH S IH Z", "cat": "K AE T S", "dog": "D AO G Z", "horse": "HH AO R S IH Z", "bridge": "B R IH JH IH Z", "tree": "T R IY Z",
           "laugh": "L AE F S", "dish": "D IH SH IH Z", "cloth": "K L AO TH S", "rose": "R OW Z IH Z", "ball": "B AO L Z",
           "watch": "W AA CH IH Z", "cup": "K AH P S", "book": "B UH K S", "thing": "TH IH NG Z", "garage": "G ER AA ZH IH Z"}


class Weight:
    """A parameter w of the loss ½·Σ(w − goal)², with a stale gradient at the start."""

    def __init__(self, value):
        self.data, self.grad = np.array(value), np.array([50.0, -70.0, 90.0])


class Loss:
    """What a loss tensor can do here."""

    def __init__(self, w, goal):
        self.w, self.goal, self.value = w, goal, 0.5 * ((w.data - goal) ** 2).sum()

    def backward(self):
        g = self.w.data - self.goal
        self.w.grad = g if self.w.grad is None else self.w.grad + g

    def item(self):
        return float(self.value)


class Descent:
    """Plain gradient descent with learning rate 0.1."""

    def __init__(self, w):
        self.w = w

    def zero_grad(self):
        self.w.grad = None

    def step(self):
        if self.w.grad is not None:
            self.w.data = self.w.data - 0.1 * self.w.grad


def clip_to_one(parameters):
    """Shorten the gradient to length 1, in place."""
    for w in parameters:
        if w.grad is not None:
            w.grad = w.grad / max(1.0, float(np.linalg.norm(w.grad)))


@exercise("20.1")
@cases(seed=[1, 2])
def test_training_step(ex, seed):
    goals = rng(seed).normal(size=(4, 3)) * 3
    start = rng(seed + 10).normal(size=3)
    w, at = Weight(start), start
    optimizer = Descent(w)
    for i, goal in enumerate(goals):
        got = ex.training_step(lambda goal=goal: Loss(w, goal), [w], optimizer, clip_to_one)
        check(got is None or not isinstance(got, Loss), "training_step: you returned the loss tensor; return its number, loss.item(). "
              "A tensor keeps the whole graph of the step alive")
        same(got, 0.5 * ((at - goal) ** 2).sum(), f"training_step: the loss of step {i}")
        g = at - goal
        at = at - 0.1 * g / max(1.0, np.sqrt((g * g).sum()))
        same(w.data, at, f"training_step: the weight after step {i}")


@exercise("20.1")
def test_training_step_asks_for_one_loss(ex):
    w = Weight([1.0, 2.0, 3.0])
    loss_of = calls(lambda: Loss(w, np.zeros(3)))
    ex.training_step(loss_of, [w], Descent(w), clip_to_one)
    check(loss_of.count == 1, f"training_step: loss_of() takes the next batch, so call it once; you called it {loss_of.count} times")


@exercise("20.2")
@cases(word=list(SOUNDS))
def test_plural(ex, word):
    sounds = SOUNDS[word].split()
    got = ex.plural(sounds)
    check(sounds == SOUNDS[word].split(), "plural: your function changed the list that it was given; return a new one")
    check(got is not None, "plural: your function returned nothing (None); did you forget `return`?")
    check(isinstance(got, list | tuple) and all(type(s) is str for s in got), f"plural: expected a list of sounds, yours is {got!r}")
    check(list(got) == PLURALS[word].split(), f"plural of {word}, {SOUNDS[word]}: expected {PLURALS[word]}, yours is "
                                              f"{' '.join(map(str, got))}")


EXAMPLES = [("cat", [["K", "AE", "T", "S"]]), ("house", [["HH", "AW", "Z", "IH", "Z"], ["HH", "AW", "S", "IH", "Z"]]),
            ("dog", [["D", "AO", "G", "Z"]]), ("cat", [["K", "AA", "T"]]), ("ox", [["AA", "K", "S", "AH", "N"]]),
            ("do", [["D", "UW", "Z"]]), ("use", [["Y", "UW", "S", "IH", "Z"]])]


@exercise("20.3")
@cases(n=[1, 2, 4, 5, 7])
def test_task_file(ex, n):
    rows = {1: "cat\tK AE T S\n"}
    rows[2] = rows[1] + "house\tHH AW Z IH Z\tHH AW S IH Z\n"
    rows[4] = rows[2] + "dog\tD AO G Z\n"
    rows[5] = rows[4] + "ox\tAA K S AH N\n"
    rows[7] = rows[5] + "do\tD UW Z\n" + "use\tY UW S IH Z\n"
    given = EXAMPLES[:n]
    with unchanged(given):
        got = ex.task_file(given)
    check(got is not None, "task_file: your function returned nothing (None); did you forget `return`?")
    check(type(got) is str and got == rows[n], f"task_file of {n} examples: expected {rows[n]!r}, yours is {got!r}")


@exercise("20.3")
def test_task_file_is_read(ex):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "plural.tsv"
        path.write_text(str(ex.task_file(EXAMPLES)), encoding="utf-8")
        try:
            task = mg.tasks.get(path)
        except ValueError as error:
            check(False, f"task_file: minigrad cannot read the file: {str(error).replace(folder, '')}")
        check(task.accepted("house") == EXAMPLES[1][1], f"task_file: minigrad reads the answers of 'house' as {task.accepted('house')}")


@exercise("20.4")
@cases(n=[5, 3, 1, 8])
def test_words_right(ex, n):
    cat, dog = ["K", "AE", "T"], ["D", "AO", "G"]
    predictions = [cat, ["HH", "AW", "S"], ["D", "AO"], [], ["T", "K", "AE"], [*cat, "S"], cat, dog][:n]
    accepted = [[cat], [["HH", "AW", "Z"], ["HH", "AW", "S"]], [dog], [["AE"]], [cat], [cat], [dog], [dog, list(dog)]][:n]
    with unchanged(predictions, accepted):
        got = ex.words_right(predictions, accepted)
    same(got, {8: 3 / 8, 5: 2 / 5, 3: 2 / 3, 1: 1.0}[n], f"words_right of {n} predictions")


TRIALS = [dict(rank=1, trained=100, validation=0.50, test=0.70), dict(rank=2, trained=200, validation=0.62, test=0.55),
          dict(rank=8, trained=800, validation=0.62, test=0.60), dict(rank=16, trained=1600, validation=0.60, test=0.66),
          dict(rank=4, trained=400, validation=0.55, test=0.50), dict(rank=32, trained=3200, validation=0.621, test=0.40),
          dict(rank=3, trained=150, validation=0.62, test=0.55)]


@exercise("20.5")
@cases(order=[(0, 1, 2, 3), (2, 3, 1, 0), (3, 2, 0), (0,), (2, 0, 1), (4, 2, 3, 1), (1, 5, 0), (1, 6, 2)], want=[2, 2, 8, 1, 2, 2, 32, 3])
def test_best(ex, order, want):
    trials = [dict(TRIALS[i]) for i in order]
    with unchanged(trials):
        got = ex.best(trials)
    check(any(got is trial for trial in trials), f"best: return one of the trials, a dictionary; yours is {got!r}")
    shown = ", ".join(f"rank {TRIALS[i]['rank']}: {TRIALS[i]['validation']:.3g}" for i in order)
    check(got["rank"] == want, f"best of the trials with validation {shown}: expected rank {want}, yours is rank {got['rank']}")


@exercise("20.1", plug_in=True)
def test_your_step_trains_a_transformer_of_the_lessons(ex):
    """Every operation, the optimizer and the clipping are the solutions of lessons 03 to 07; the step is yours."""
    parts, step = mine.gather(mine=False), calls(ex.training_step)
    _, yours = mine.train(parts, steps=12, step_function=step)
    _, engines = mine.train(None, steps=12)
    engine.same_curve(yours, engines, "a transformer of the lessons' functions")
    engine.was_called(step, *(parts[name] for name in ("linear_vjp", "layer_norm_vjp", "attention_vjp", "adamw", "cross_entropy_vjp")))


@exercise("20.1", "20.2", "20.3", "20.4", "20.5", plug_in=True)
def test_your_task_gets_an_adapter(ex):
    """Your rule makes the examples, your file holds them, your step trains LoRA on the model that reads, your score counts."""
    step, plural, task_file, words_right, best = (calls(f) for f in (ex.training_step, ex.plural, ex.task_file, ex.words_right, ex.best))
    mg.manual_seed(20)
    base, tokenizer = mg.pretrained.load()
    read = mg.tasks.get("pronounce")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "plural.tsv"
        words = [(word, [plural(sounds) for sounds in answers]) for word, answers in read.examples("adapt")[:3000] if len(word) <= 4]
        path.write_text(task_file(words), encoding="utf-8")
        task = mg.tasks.get(path)
    check_on = task.examples("validation")[:16]
    trials, losses = [], []
    for rank, steps in ((1, 0), (4, 16)):
        adapted = mg.peft.apply(base, mg.peft.LoRA(rank=rank, alpha=2 * rank))
        weights = list(adapted.trainable_parameters())
        optimizer = mg.optim.AdamW(weights, lr=1e-2)
        batches = mg.tasks.Batches(mg.tasks.encode_examples(tokenizer, task.examples("adapt")), 16, rng=0).forever()
        for _ in range(steps):
            batch = next(batches)
            losses.append(step(lambda: mg.training.loss_on(adapted, batch), weights, optimizer,         # noqa: B023, called at once
                               lambda weights: mg.optim.clip_grad_norm_(weights, 1.0)))
        result = mg.training.evaluate(adapted, tokenizer, check_on)
        score = words_right(result.predictions, [answers for _, answers in check_on])
        same(score, result.exact_match, "words_right, against minigrad's own score")
        trials.append(dict(rank=rank, trained=sum(w.size for w in weights), validation=score, test=0.0))
    check(losses[-1] < 0.5 * losses[0], f"the adapter's loss did not fall by half: {losses[0]:.3g} -> {losses[-1]:.3g}")
    check(best(trials)["rank"] == 4, f"best: after training the plural is right more often than before; your choice among {trials} is "
                                     "the untrained one")
    engine.was_called(step, plural, task_file, words_right, best)
