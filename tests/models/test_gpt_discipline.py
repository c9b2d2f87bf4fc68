"""A whole training step of the GPT in float32 on the strict backend: no float64 anywhere, nothing read back."""
import numpy as np

import minigrad as mg
from minigrad.nn import functional as F
from tests.strict.array import policy


def test_a_training_step_stays_float32_and_never_waits():
    with mg.use_backend("strict"):
        gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=13, context=8, d_model=16, n_layers=2, n_heads=4, dropout=0.1))
        optimizer = mg.optim.AdamW(gpt.named_parameters(), lr=np.float64(1e-3))
        schedule = mg.optim.CosineWithWarmup(optimizer, 2, 10)
        ids = np.random.default_rng(0).integers(0, 13, (3, 8))
        before = gpt.head.weight.numpy()
        with policy(allow_sync=False, no_float64=True):
            for step in range(3):
                logits = gpt(ids[:, :-1], start=np.array([0, 1, 1]))
                loss = F.cross_entropy(logits.reshape(-1, 13), ids[:, 1:].reshape(-1))
                optimizer.zero_grad()
                loss.backward()
                norm = mg.optim.clip_grad_norm_(gpt.parameters(), 1.0)
                optimizer.step()
                schedule.step()
        assert np.isfinite([loss.item(), norm.item()]).all()
        assert not np.array_equal(gpt.head.weight.numpy(), before)


def test_generation_in_float32_makes_no_float64():
    with mg.use_backend("strict"):
        gpt = mg.models.GPT(mg.models.GPTConfig(vocab_size=13, context=8, d_model=16, n_layers=1, n_heads=4))
        with policy(no_float64=True):
            assert len(gpt.generate([[1, 2]], 4, temperature=1.0, seed=0)[0]) == 4
