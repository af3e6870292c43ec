"""Networks with planted outliers, as trained encoders have them.

In trained BERTs a few channels of the LayerNorms have factors far above the others (Kovaleva et al. 2021, "BERT Busters:
Outlier Dimensions that Disrupt Transformers"), in larger models up to seven channels with values some 20 times as large
(Dettmers et al. 2022, "LLM.int8()"). Random weights have none, and are too easy for INT8.
"""

from __future__ import annotations

CHANNELS = 6
FACTOR = 20.0


def plant(module, seed: int = 17):
    """The same channels of every LayerNorm, FACTOR times as large. Changes the module and returns it."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    chosen = None
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, torch.nn.LayerNorm):
                if chosen is None:
                    chosen = torch.randperm(layer.weight.numel(), generator=generator)[:CHANNELS]
                layer.weight[chosen] *= FACTOR
    return module
