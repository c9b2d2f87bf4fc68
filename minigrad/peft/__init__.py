"""Fine-tuning methods, one short file each, all with the contract of method.py. Read lora.py first.

To add a method: a file with a frozen dataclass that defines `attach` and `count`, `@register` on it, an import here,
and a row in tests/peft/rows.py. The feature table, the command line and the universal tests find it from there.

>>> import minigrad as mg
>>> {"full", "adapter", "prefix", "lora"} <= set(mg.peft.methods())
True
"""
# The order of these imports is the order of the registry: from training everything to training least.
from minigrad.peft.method import Method  # isort: skip
from minigrad.peft.full import FullFineTuning  # isort: skip
from minigrad.peft.topk import TopK  # isort: skip
from minigrad.peft.bitfit import BitFit  # isort: skip
from minigrad.peft.layernorm import LayerNormTuning  # isort: skip
from minigrad.peft.residual_adapter import ResidualAdapter  # isort: skip
from minigrad.peft.adapter import Adapter  # isort: skip
from minigrad.peft.adapter_lin import AdapterL  # isort: skip
from minigrad.peft.adapter_pfeiffer import AdapterP  # isort: skip
from minigrad.peft.parallel import ParallelAdapter, ScaledParallelAdapter  # isort: skip
from minigrad.peft.adapterdrop import AdapterDrop, drop_adapters  # isort: skip
from minigrad.peft.prefix import PrefixTuning, activations, set_prefix  # isort: skip
from minigrad.peft.infix import InfixTuning  # isort: skip
from minigrad.peft.llama_adapter import LlamaAdapter  # isort: skip
from minigrad.peft.prompt import PromptTuning  # isort: skip
from minigrad.peft.ptuning import PTuning  # isort: skip
from minigrad.peft.pre import PreEmbed, PreLayer  # isort: skip
from minigrad.peft.lora import LoRA  # isort: skip
from minigrad.peft.lora_plus import LoRAPlus  # isort: skip
from minigrad.peft.lora_fa import LoRAFA  # isort: skip
from minigrad.peft.dora import DoRA  # isort: skip
from minigrad.peft.pissa import PiSSA, to_lora  # isort: skip
from minigrad.peft.longlora import LongLoRA  # isort: skip
from minigrad.peft.adalora import AdaLoRA  # isort: skip
from minigrad.peft.multilora import MultiLoRA  # isort: skip
from minigrad.peft.glora import GLoRA  # isort: skip
from minigrad.peft.ln_lora import LNLoRA  # isort: skip
from minigrad.peft.fact import FacT  # isort: skip
from minigrad.peft.vera import VeRA  # isort: skip
from minigrad.peft.tied_lora import TiedLoRA  # isort: skip
from minigrad.peft.ia3 import IA3  # isort: skip
from minigrad.peft.intrinsic import SAID, IntrinsicDimension, d90  # isort: skip
from minigrad.peft.combined import Combined  # isort: skip
from minigrad.peft.adapted import AdaptedModel, apply
from minigrad.peft.clone import clone
from minigrad.peft.files import fingerprint, load, save
from minigrad.peft.mixture import forward_rows, generate_rows, mix
from minigrad.peft.registry import create, methods, register, table

__all__ = ["AdaLoRA", "AdaptedModel", "Adapter", "AdapterDrop", "AdapterL", "AdapterP", "BitFit", "Combined", "DoRA",
           "FacT", "FullFineTuning", "GLoRA", "IA3", "InfixTuning", "IntrinsicDimension", "LNLoRA", "LayerNormTuning",
           "LlamaAdapter", "LoRA", "LoRAFA", "LoRAPlus", "LongLoRA", "Method", "MultiLoRA", "PTuning",
           "ParallelAdapter", "PiSSA", "PreEmbed", "PreLayer", "PrefixTuning", "PromptTuning", "ResidualAdapter",
           "SAID", "ScaledParallelAdapter", "TiedLoRA", "TopK", "VeRA", "activations", "apply", "clone", "create",
           "d90", "drop_adapters", "fingerprint", "forward_rows", "generate_rows", "load", "methods", "mix", "register",
           "save", "set_prefix", "table", "to_lora"]
