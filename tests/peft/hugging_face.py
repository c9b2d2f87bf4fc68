"""Small models of transformers with the weights of minigrad's, and a minigrad model in the shape of Llama."""
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import minigrad as mg
from minigrad import nn
from minigrad.backend import host
from minigrad.nn import functional as F


def gpt2_of(base):
    """transformers' GPT-2 with the weights of a minigrad GPT; its layers keep (in, out) and one matrix for q, k, v."""
    c = base.config
    model = GPT2LMHeadModel(GPT2Config(vocab_size=c.vocab_size, n_positions=c.context, n_embd=c.d_model, n_layer=c.n_layers,
                                       n_head=c.n_heads, n_inner=c.d_ff, tie_word_embeddings=False, bos_token_id=0,
                                       eos_token_id=0, attn_implementation="eager", resid_pdrop=0.0, embd_pdrop=0.0,
                                       attn_pdrop=0.0)).double().eval()
    w = {name: torch.tensor(a) for name, a in base.state_dict().items()}
    state = {"transformer.wte.weight": w["token_embedding.weight"], "transformer.wpe.weight": w["position_embedding.weight"],
             "transformer.ln_f.weight": w["norm.weight"], "transformer.ln_f.bias": w["norm.bias"],
             "lm_head.weight": w["head.weight"]}
    for i in range(c.n_layers):
        for ours, theirs in (("norm1", "ln_1"), ("norm2", "ln_2")):
            for kind in ("weight", "bias"):
                state[f"transformer.h.{i}.{theirs}.{kind}"] = w[f"blocks.{i}.{ours}.{kind}"]
        for names, theirs in ((("attn.q_proj", "attn.k_proj", "attn.v_proj"), "attn.c_attn"), (("attn.o_proj",), "attn.c_proj"),
                              (("mlp.up_proj",), "mlp.c_fc"), (("mlp.down_proj",), "mlp.c_proj")):
            state[f"transformer.h.{i}.{theirs}.weight"] = torch.cat([w[f"blocks.{i}.{n}.weight"] for n in names]).T.contiguous()
            state[f"transformer.h.{i}.{theirs}.bias"] = torch.cat([w[f"blocks.{i}.{n}.bias"] for n in names])
    model.load_state_dict(state)
    return model


class LlamaAttention(nn.Module):
    """Causal attention with rotary positions and no biases."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(d, d, bias=False))

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = (p(x).reshape(B, T, self.heads, -1).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        turn = nn.rotary.rotation(host.np.arange(T), D // self.heads, q)
        y = F.scaled_dot_product_attention(nn.rotary.rotate(q, *turn), nn.rotary.rotate(k, *turn), v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, D))


class LlamaMLP(nn.Module):
    """W_down (silu(W_gate x) ⊙ W_up x)."""

    def __init__(self, d, f):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(d, f, bias=False), nn.Linear(d, f, bias=False)
        self.down_proj = nn.Linear(f, d, bias=False)

    def forward(self, x):
        gate = self.gate_proj(x)
        return self.down_proj(gate * gate.sigmoid() * self.up_proj(x))


class LlamaBlock(nn.Module):
    """A pre-norm block."""

    def __init__(self, d, heads, f):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(d, eps=1e-6), nn.RMSNorm(d, eps=1e-6)
        self.attn, self.mlp = LlamaAttention(d, heads), LlamaMLP(d, f)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Llama(nn.Module):
    """A language model in Llama's shape, with minigrad's names."""

    def __init__(self, vocab=11, d=8, layers=2, heads=2, f=12):
        super().__init__()
        self.sizes = vocab, d, layers, heads, f
        self.token_embedding = nn.Embedding(vocab, d)
        self.blocks = nn.ModuleList(LlamaBlock(d, heads, f) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(d, eps=1e-6), nn.Linear(d, vocab, bias=False)

    def forward(self, ids):
        x = self.token_embedding(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def make_llama(dtype="float64"):
    """A Llama with weights that matter."""
    mg.manual_seed(3)
    return Llama().to(dtype=dtype)


def llama_of(base):
    """transformers' Llama with the weights of `base`."""
    vocab, d, layers, heads, f = base.sizes
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocab, hidden_size=d, intermediate_size=f, num_hidden_layers=layers,
                                         num_attention_heads=heads, num_key_value_heads=heads, rms_norm_eps=1e-6,
                                         max_position_embeddings=32, attn_implementation="eager", bos_token_id=0,
                                         eos_token_id=0, tie_word_embeddings=False)).double().eval()
    names = {"token_embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}
    state = {}
    for name, values in base.state_dict().items():
        path = name.removesuffix(".weight")
        path = names.get(path, path.replace("blocks.", "model.layers.").replace(".attn.", ".self_attn.")
                         .replace("norm1", "input_layernorm").replace("norm2", "post_attention_layernorm"))
        state[path + ".weight"] = torch.tensor(values)
    model.load_state_dict(state)
    return model
