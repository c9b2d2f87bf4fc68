"""The prompt family with parameters chosen by hand: LLaMA-Adapter, P-tuning, PreEmbed, PreLayer."""
import numpy as np
import pytest

import minigrad as mg
from minigrad import peft
from minigrad.peft import LlamaAdapter, PreEmbed, PrefixTuning, PreLayer, PromptTuning, PTuning
from tests.peft.rows import adapt, logits, loss_of, make_base, make_ids, randomize


def assign(p, values):
    p.data = p.backend.send(np.asarray(values).astype(p.numpy().dtype))


# ---- LLaMA-Adapter ---------------------------------------------------------------------------------------------------

def test_a_closed_gate_is_the_base_where_a_prefix_of_the_same_rows_is_not(backend):
    base, ids = make_base("float64"), make_ids()
    gated = adapt(base, LlamaAdapter(length=3)).eval()
    assert np.array_equal(logits(gated, ids), logits(base, ids))
    prefix = adapt(base, PrefixTuning(length=3, positions="keep"))
    rows = []
    for attn, block in zip(peft.prefix.attentions(base), gated.model.blocks, strict=True):
        p = block.attn.beside.prompt.unsqueeze(0)
        rows.append([attn.split_heads(proj(p)).numpy()[0] for proj in (attn.k_proj, attn.v_proj)])
    peft.set_prefix(prefix.model, rows)
    assert not np.allclose(logits(prefix, ids), logits(base, ids), atol=1e-2)


def test_in_the_first_step_only_the_gates_get_a_gradient(backend):
    adapted = adapt(make_base(), LlamaAdapter(length=3))
    loss_of(adapted, make_ids()).backward()
    for name, p in adapted.named_trainable_parameters():
        assert (mg.to_numpy(p.grad) != 0).any() == name.endswith("gate"), name


def test_the_gated_prompt_is_its_formula_in_the_top_layers_only(backend):
    adapted = randomize(adapt(make_base("float64"), LlamaAdapter(length=3, layers=1)))
    assert adapted.model.blocks[0].attn.beside is None
    attn, x = adapted.model.blocks[1].attn, np.random.default_rng(0).normal(size=(2, 5, 8))
    prompt, gate = attn.beside.prompt.numpy(), attn.beside.gate.numpy()

    def heads(proj, z):
        return (z @ proj.weight.numpy().T + proj.bias.numpy()).reshape(*z.shape[:-1], 2, 4).swapaxes(-2, -3)

    def attend(q, k, v, mask=0.0):
        s = np.exp(q @ k.swapaxes(-1, -2) / 2 + mask)
        return s / s.sum(axis=-1, keepdims=True) @ v

    q, k, v = (heads(p, x) for p in (attn.q_proj, attn.k_proj, attn.v_proj))
    y = attend(q, k, v, np.where(np.triu(np.ones((5, 5)), 1), -np.inf, 0.0))
    y = y + np.tanh(gate)[:, None, None] * attend(q, heads(attn.k_proj, prompt), heads(attn.v_proj, prompt))
    expected = y.swapaxes(1, 2).reshape(2, 5, 8) @ attn.o_proj.weight.numpy().T + attn.o_proj.bias.numpy()
    np.testing.assert_allclose(attn(mg.tensor(x)).numpy(), expected, atol=1e-12)
    with pytest.raises(ValueError, match="layers=3, but the model has 2 blocks"):
        adapt(make_base(), LlamaAdapter(layers=3))


# ---- slots: P-tuning, PreEmbed, PreLayer ----------------------------------------------------------------------------

def embeddings_of(base, text):
    return base.token_embedding.weight.numpy()[np.asarray(text)]


@pytest.mark.parametrize("template", [("p", 7, 3, "x"), (7, "p", 3), (7, "x", "p", 3, "x", 9)], ids=str)
def test_a_template_of_discrete_tokens_is_plain_prompting(template, backend):
    base, ids = make_base("float64"), make_ids()
    adapted = adapt(base, PTuning(template))
    assign(adapted.model.slots.prompt, embeddings_of(base, [5]))
    text = [5 if e == "p" else e for e in template]
    reals = [i for i, e in enumerate(text) if e == "x"]
    rest = ids.shape[1] - len(reals)
    whole = np.array([[*(row[reals.index(i)] if e == "x" else e for i, e in enumerate(text)), *row[len(reals):]]
                      for row in ids])
    # A token's logits are those at the last place before the next token.
    places = [*reals, *range(len(text), len(text) + rest)]
    places = [(places[i + 1] if i + 1 < len(places) else whole.shape[1]) - 1 for i in range(len(places))]
    np.testing.assert_allclose(logits(adapted, ids), logits(base, whole)[:, places], rtol=0, atol=1e-12)
    assert [list(x) for x in adapted.generate(ids, 4)] == [list(x) for x in base.generate(whole, 4)]


def test_p_tuning_with_trained_vectors_in_front_is_prompt_tuning(backend):
    base, ids = make_base(), make_ids()
    one, other = adapt(base, PTuning(("p",) * 3)), adapt(base, PromptTuning(length=3))
    np.testing.assert_allclose(logits(one, ids), logits(other, ids), rtol=0, atol=1e-6)
    assert one.state()["prompt_embeddings"].shape == (3, 8)


def test_the_encoder_is_baked_away(backend):
    ids = make_ids()
    adapted = randomize(adapt(make_base("float64"), PTuning(("p", "x", 7, "p"), hidden=5)))
    before, trained = logits(adapted, ids), adapted.counts()[0]
    with pytest.raises(ValueError, match="bake"):
        adapted.load_state(adapted.state())
    adapted.bake()
    assert adapted.method == PTuning(("p", "x", 7, "p")) and adapted.counts()[0] == 16 < trained
    np.testing.assert_allclose(logits(adapted, ids), before, rtol=0, atol=1e-13)
    loss_of(adapted, ids).backward()
    assert all(p.grad is not None for p in adapted.trainable_parameters())


def test_an_infix_of_real_embeddings_stands_behind_each_rows_separator(backend):
    base, sep = make_base("float64"), 10
    adapted = adapt(base, PreEmbed(prefix=1, infix=2, separator=sep))
    assign(adapted.model.slots.rows, embeddings_of(base, [7, 3, 9]))
    ids = np.array([[1, sep, 4, 5, 6], [1, 2, 4, sep, 10], [1, 2, 4, 5, 6]])        # the last row has none
    got = logits(adapted, ids)
    for row, logit in zip(ids, got, strict=True):
        i = list(row).index(sep) + 1 if sep in row else len(row)
        text = [7, *row[:i], *([3, 9] if i < len(row) else []), *row[i:]]
        whole = logits(base, np.array([text]))[0]
        places = [*range(1, i), i + 2, *range(i + 3, len(text))] if i < len(row) else range(1, len(text))
        np.testing.assert_allclose(logit, whole[list(places)], rtol=0, atol=1e-12)
    prompts = [[1, 2, sep], [5, sep], [4, 8, sep]]
    texts = [[7, *p, 3, 9] for p in prompts]
    for cache in (True, False):
        assert [list(x) for x in adapted.generate(prompts, 4, use_cache=cache)] == [list(x) for x in base.generate(texts, 4)]
    with mg.no_grad(), pytest.raises(ValueError, match="meet their separator at the same place"):
        adapted(ids, cache=adapted.new_cache(3))
    with pytest.raises(ValueError, match="need ids"):
        adapted(None, embeddings=base.token_embedding(ids))


def test_pre_layer_with_the_real_activations_is_reading_the_real_text(backend):
    base, text, ids = make_base("float64", n_layers=3), np.array([7, 3, 9, 2]), make_ids()
    adapted = adapt(base, PreLayer(prefix=4, infix=0))
    with mg.no_grad():
        x = base.token_embedding(text[None])
        assign(adapted.model.slots.rows, x.numpy()[0])
        x = x + base.position_embedding(np.arange(4))
        for i in range(1, 3):
            x = base.blocks[i - 1](x)
            assign(adapted.model.blocks[i].vectors, x.numpy()[0])
    both = np.concatenate([np.tile(text, (len(ids), 1)), ids], axis=1)
    np.testing.assert_allclose(logits(adapted, ids), logits(base, both)[:, 4:], rtol=0, atol=1e-12)
    assign(adapted.model.blocks[2].vectors, x.numpy()[0, :, ::-1])          # not a shift: a norm would take it off
    assert not np.allclose(logits(adapted, ids), logits(base, both)[:, 4:], atol=1e-3)


def test_a_prompt_can_start_from_text(backend):
    base = make_base()
    adapted = adapt(base, PromptTuning(length=5, init="text", text=(7, 3)))
    assert np.array_equal(adapted.model.prompt.numpy(), embeddings_of(base, [7, 3, 7, 3, 7]))
    assert np.array_equal(adapt(base, PromptTuning(length=1, init="text", text=(7, 3))).model.prompt.numpy(),
                          embeddings_of(base, [7]))


@pytest.mark.parametrize(("make", "words"), [
    (lambda: PTuning(("p", "q")), "token ids; got 'q'"), (lambda: PTuning((7, "x")), "has no 'p'"),
    (lambda: PTuning(hidden=0), "hidden"), (lambda: PreEmbed(0, 0), "both 0"), (lambda: PreLayer(-1), "PreLayer: prefix"),
    (lambda: PromptTuning(init="text"), "belong together"), (lambda: PromptTuning(text=(1,)), "belong together")])
def test_bad_templates(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_templates_that_do_not_fit_the_model(backend):
    with pytest.raises(ValueError, match="16 slots leave no room in a context of 16"):
        adapt(make_base(), PreEmbed(8, 8))
    with pytest.raises(IndexError, match="template"):
        adapt(make_base(), PTuning(("p", 11)))
    with pytest.raises(TypeError, match="PTuning works on a GPT"):
        PTuning().attach(adapt(make_base(), PreEmbed(1, 1)).model, np.random.default_rng(0))


# ---- infix ------------------------------------------------------------------------------------------------------------

def test_an_infix_is_the_base_before_it_and_a_prefix_where_everything_is_behind_it(backend):
    base, ids = make_base("float64"), make_ids()
    infix, prefix = (randomize(adapt(base, m)) for m in (
        peft.InfixTuning(length=3), PrefixTuning(length=3, positions="keep")))
    assert np.array_equal(logits(infix, ids), logits(prefix, ids))
    late = randomize(adapt(base, peft.InfixTuning(length=3, after=4)))
    np.testing.assert_allclose(logits(late, ids)[:, :3], logits(base, ids)[:, :3], rtol=0, atol=1e-13)
    assert not np.allclose(logits(late, ids)[:, 3], logits(base, ids)[:, 3], atol=1e-3)


def test_an_infix_finds_each_rows_separator(backend):
    base, sep = make_base("float64"), 10
    adapted = randomize(adapt(base, peft.InfixTuning(length=2, separator=sep))).eval()
    ids = np.array([[1, sep, 4, 5, 6], [1, 2, 4, sep, 10], [1, 2, 4, 5, 6]])
    got = logits(adapted, ids)
    for row, after, mine in zip(ids, (2, 4, 99), got, strict=True):
        alone = randomize(adapt(base, peft.InfixTuning(length=2, after=after)))
        np.testing.assert_allclose(mine, logits(alone, row[None])[0], rtol=0, atol=1e-13)
    prompts = [[1, 2, sep], [5, sep], [4, 8, sep]]
    assert len({tuple(map(tuple, adapted.generate(prompts, 4, use_cache=c))) for c in (True, False)}) == 1
    with mg.no_grad(), pytest.raises(ValueError, match="meet their separator in the same call"):
        adapted(ids, cache=adapted.new_cache(3))
    with pytest.raises(ValueError, match="needs ids"):
        adapted(None, embeddings=base.token_embedding(ids))
    with pytest.raises(ValueError, match="positions must be one of 'keep'"):
        peft.InfixTuning(positions="shift")
