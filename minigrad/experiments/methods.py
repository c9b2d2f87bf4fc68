"""`minigrad experiments methods`: accuracy against trained parameters, for every method of the registry."""
from __future__ import annotations

from minigrad.experiments import budget, families
from minigrad.experiments.figure import percent
from minigrad.experiments.rank_sweep import comparable
from minigrad.experiments.study import Finding, Study, above, difference, matching, mean, points

BUDGETS = (2048, 32768)                             # beside the 8,192 of `minigrad compare --methods all`
COLUMNS = ("task", "method", "size", "budget", "rank", "alpha", "lr", "seed", "steps", "trainable", "percent", "acc_base",
           "acc", "per", "step_ms", "activation_bytes", "gradient_bytes", "optimizer_bytes")
CHEAP = 0.05                                        # trained share of the base's parameters that still counts as cheap
INPUT_ONLY = ("prompt", "ptuning", "preembed")      # what trains nothing but vectors at the input


def methods(names="all", budgets=BUDGETS, **options) -> list[dict]:
    """Every method at the sizes nearest to each budget; writes methods.{csv,png,json}.

    Two budgets that give a method the same size give it one point. Joined by the rows of a compare.csv in `out` with the
    same task and number of steps. options: Study's.
    """
    study = Study("methods", **options)
    names = budget.trainable_alone() if names == "all" else list(names)
    fitted = {b: budget.fit_all(names, study.model, b, study.task) for b in budgets}
    before, steps = study.base(), study.of("full", 0).steps
    there = comparable(study.out / "compare.csv", {"task": study.task.name, "steps": steps})
    known, cells = {(row["method"], row["trainable"]) for row in there}, {}
    for b in budgets:
        study.say(budget.explain(fitted[b], b))
        for f in fitted[b].values():
            if (f.name, f.count) not in known:
                cells.setdefault((f.name, f.count), (b, f))
    runs = [(b, f, study.of(f.name, seed, hyper=f.hyper)) for b, f in cells.values() for seed in study.seeds]
    first, *done = study.run([before, *(run for *_, run in runs)], budgets=budgets)
    rows = [row | {"acc_base": first["acc"], "size": f.size, "budget": b} for row, (b, f, _) in zip(done, runs, strict=True)]
    rows += there
    rows.sort(key=lambda row: (names.index(row["method"]) if row["method"] in names else 99, row["trainable"], row["seed"]))
    return study.write(rows, COLUMNS, families.draw(rows), findings(rows), {"rows from compare.csv": len(there)})


def best_size(rows, name: str) -> list[dict]:
    """A method's rows at its best size."""
    mine = matching(rows, method=name)
    return matching(mine, trainable=max({row["trainable"] for row in mine}, key=lambda n: mean(mine, trainable=n)))


def findings(rows) -> list[Finding]:
    """Whether a cheap method reaches full fine-tuning, whether LoRA does, and whether inputs alone do worst."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    whole = max(row["trainable"] for row in rows)
    cheap = [n for n in names if best_size(rows, n)[0]["trainable"] <= CHEAP * whole]
    found, full = [], matching(rows, method="full")
    if full and cheap:
        best = max(cheap, key=lambda n: mean(best_size(rows, n)))
        claims = {f"the best method with at most {100 * CHEAP:.0f} % of the parameters reaches full fine-tuning": best}
        claims |= {"LoRA reaches full fine-tuning": "lora"} if "lora" in cheap else {}
        for claim, name in claims.items():
            mine = best_size(rows, name)
            found.append(Finding(claim, not above(difference(full, mine)),
                                 f"{name} {percent(mean(mine))} with {mine[0]['trainable']:,} parameters, full "
                                 f"{percent(mean(full))} with {whole:,}; {points(difference(mine, full))}"))
    inputs = [n for n in INPUT_ONLY if n in names]
    others = [n for n in cheap if n not in INPUT_ONLY]
    if inputs and others:
        score = {n: mean(best_size(rows, n)) for n in inputs + others}
        top, low = max(inputs, key=score.get), min(others, key=score.get)
        worse = sum(score[top] < score[n] for n in others)
        found.append(Finding("methods that only train vectors at the input are the weakest", worse == len(others),
                             f"the best of them, {top}, {percent(score[top])}, is below {worse} of {len(others)} other cheap "
                             f"methods; the weakest of those, {low}, {percent(score[low])}"))
    return found
