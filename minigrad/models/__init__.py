"""Models. gpt.py is the transformer; generate.py makes it write; cache.py makes writing fast."""
from minigrad.models.cache import KVCache
from minigrad.models.generate import generate
from minigrad.models.gpt import GPT, MLP, Block, GPTConfig

__all__ = ["GPT", "MLP", "Block", "GPTConfig", "KVCache", "generate"]
