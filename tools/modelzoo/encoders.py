"""Transformer encoders with random weights beyond those in exports.py."""

from __future__ import annotations

from .exports import encoder_wrapper, require_torch

# Hidden size, layers, heads, inner size: BERT-Large (Devlin et al. 2018), 335 million parameters; MiniLM-L6 (Wang et
# al. 2020) as sentence encoders have it, 23 million.
SIZES = {"bert_large": (1024, 24, 16, 4096), "minilm": (384, 6, 12, 1536)}


def bert_model(size: str, attention: str):
    from transformers import BertConfig, BertModel

    hidden, layers, heads, inner = SIZES[size]
    config = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
        attn_implementation=attention,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False)


def encoder(size: str, seed: int = 13):
    """A BERT of this size with random weights, ready for export."""
    torch = require_torch()
    from .architectures import randomise

    torch.manual_seed(seed)
    return encoder_wrapper(torch, randomise(bert_model(size, "eager"), seed))
