"""Against Hugging Face PEFT: AdaLoRA's budget, its scores and its choice; and what PEFT lets pass."""
import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad.peft import AdaLoRA
from tests.peft.rows import adapt, make_base, make_ids, randomize

torch = pytest.importorskip("torch")
hf = pytest.importorskip("peft")
from tests.models.torch_gpt import twin  # noqa: E402

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("ignore")]
TRIPLET = ("lora_A", "lora_E", "lora_B")
TOTAL = 14


def theirs_like(method, base):
    config = hf.AdaLoraConfig(init_r=method.initial_rank, target_r=method.rank, lora_alpha=method.alpha, tinit=method.tinit,
                              tfinal=method.tfinal, deltaT=method.interval, total_step=TOTAL, beta1=method.beta1,
                              beta2=method.beta2, target_modules=list(method.targets), orth_reg_weight=0.5)
    return hf.get_peft_model(twin(base), config)


def pairs_of(ours, theirs):
    """[(our layer, their layer)], their values made ours."""
    found = []
    for m in ours.method.layers(ours.model):
        layer = theirs.get_base_model().get_submodule(m.path)
        with torch.no_grad():
            for name in TRIPLET:
                getattr(layer, name)["default"].copy_(torch.tensor(getattr(m, name).numpy()))
        found.append((m, layer))
    return found


@pytest.mark.parametrize(("tinit", "tfinal", "interval"), [(2, 3, 1), (0, 1, 2), (3, 4, 3)])
def test_after_the_same_gradients_the_same_ranks_are_left(tinit, tfinal, interval):
    base, rng = make_base("float64"), np.random.default_rng(0)
    method = AdaLoRA(rank=2, initial_rank=4, targets=("q_proj", "up_proj"), tinit=tinit, tfinal=tfinal, interval=interval)
    ours = randomize(adapt(base, method))
    theirs = theirs_like(method, base)
    pairs = pairs_of(ours, theirs)
    allocations = set()
    for step in range(TOTAL):
        for mine, their in pairs:                   # an optimizer's step, and the gradient that it has used
            for name in TRIPLET:
                p, q = getattr(mine, name), getattr(their, name)["default"]
                move, g = 0.1 * rng.normal(size=p.shape), rng.normal(size=p.shape)
                p.data, p.grad = p.data + move, g.copy()
                with torch.no_grad():
                    q += torch.tensor(move)
                q.grad = torch.tensor(g)
            mine.lora_E.bump_version()
        ours.after_step(step, TOTAL)
        theirs.base_model.update_and_allocate(step + 1)
        for mine, their in pairs:
            np.testing.assert_allclose(mine.lora_E.numpy(), their.lora_E["default"].detach().numpy(), rtol=0, atol=1e-12)
        allocations.add(tuple(method.allocation(ours.model).values()))
    pattern = theirs.peft_config["default"].rank_pattern
    assert {path: sum(pattern[f"{path}.lora_E.default"]) for path in method.allocation(ours.model)} == \
        method.allocation(ours.model)
    assert len(allocations) > 2 and sum(method.allocation(ours.model).values()) == 8


def test_the_budget_is_pefts():
    method = AdaLoRA(rank=2, initial_rank=5, targets=("q_proj", "up_proj"), tinit=2, tfinal=3)
    allocator = theirs_like(method, make_base()).base_model.rankallocator
    assert [method.budget(t, TOTAL, targets=4) for t in range(TOTAL + 1)] == \
        [allocator.budget_schedule(t)[0] for t in range(TOTAL + 1)]


def test_pefts_penalty_is_the_mean_of_lengths_where_the_papers_is_a_sum_of_squares():
    """Its gradient is therefore undefined where the goal is reached."""
    base, ids = make_base("float64"), make_ids()
    method = AdaLoRA(rank=2, initial_rank=3, tinit=2, tfinal=3)
    ours = randomize(adapt(base, method))
    theirs = theirs_like(method, base).double()
    lengths = []
    for mine, _ in pairs_of(ours, theirs):
        for M in (mine.lora_B.numpy().T, mine.lora_A.numpy()):
            lengths.append(np.linalg.norm(M @ M.T - np.eye(3)))
    assert ours.penalty().item() == pytest.approx(0.1 * (np.array(lengths) ** 2).sum(), rel=1e-12)

    class Output:
        loss = torch.zeros((), dtype=torch.float64)

    theirs.base_model.model.forward = lambda *args: Output()        # a model that reports a loss
    assert theirs.base_model.forward(ids).loss.item() == pytest.approx(0.5 * np.mean(lengths), rel=1e-6)


def test_d12_pefts_scale_is_that_of_the_initial_rank_and_a_little_less():
    """PEFT divides α by r₀ + 1e-5, whatever rank is left."""
    base = make_base("float64")
    method = AdaLoRA(rank=2, initial_rank=4, alpha=6, tinit=2, tfinal=3)
    ours = randomize(adapt(base, method))
    theirs = theirs_like(method, base).double()
    mine, their = pairs_of(ours, theirs)[0]
    mine.keep(np.array([True, False, True, False]))
    mine.silence()
    with torch.no_grad():
        their.lora_E["default"].copy_(torch.tensor(mine.lora_E.numpy()))
    np.testing.assert_allclose(their.get_delta_weight("default").detach().numpy(),
                               mg.to_numpy(mine.delta_weight()) * 4 / (4 + 1e-5), rtol=1e-6)


def test_d12_peft_trains_without_its_schedule_and_says_nothing():
    """huggingface/peft issues 432, 1801 and 3373: who forgets update_and_allocate trains a LoRA of rank r₀."""
    theirs = theirs_like(AdaLoRA(rank=2, initial_rank=4, tinit=2, tfinal=3), make_base())
    run = theirs.get_base_model()
    optimizer = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(TOTAL):
        run(torch.tensor(make_ids())).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    E = [p for n, p in theirs.named_parameters() if "lora_E" in n]
    assert all((p != 0).all() for p in E)           # every rank is still the initial one


def test_pefts_allocator_fails_where_nothing_is_to_be_taken_away():
    """huggingface/peft issue 2337 reports the same error."""
    base = make_base("float64")
    method = AdaLoRA(rank=3, initial_rank=3, tinit=0, tfinal=1, interval=1)
    ours, theirs = randomize(adapt(base, method)), theirs_like(method, base)
    for mine, their in pairs_of(ours, theirs):
        for name in TRIPLET:
            p, q = getattr(mine, name), getattr(their, name)["default"]
            p.grad, q.grad = p.data.copy(), copy.deepcopy(q.detach())
        mine.lora_E.bump_version()
    ours.after_step(0, TOTAL)
    assert set(method.allocation(ours.model).values()) == {3}
    with pytest.raises((RuntimeError, IndexError), match="k"):
        theirs.base_model.update_and_allocate(1)
