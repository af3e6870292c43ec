"""Transformer encoders with random weights beyond those in exports.py."""

from __future__ import annotations

from .exports import encoder_wrapper, require_torch


def bert_large(seed: int = 13):
    """BERT-Large (Devlin et al. 2018): 24 layers of 1024, 16 heads, 335 million parameters."""
    torch = require_torch()
    from transformers import BertConfig, BertModel

    from .architectures import randomise

    torch.manual_seed(seed)
    config = BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
        attn_implementation="eager",
    )  # fmt: skip
    return encoder_wrapper(torch, randomise(BertModel(config, add_pooling_layer=False), seed))
