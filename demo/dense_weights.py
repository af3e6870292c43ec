"""The demo's networks with the weights of their ONNX files, ready to be trained on.

The exporter folds batch norms into the convolutions before them. Here each norm gets the mean and variance that its
input has on pictures, and the factor and offset that cancel them: the network computes what the file does, and goes on
from there when training normalises by batches again.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from fashion_networks import NETWORKS
from modelzoo import Unavailable, fashion_mnist
from torch import nn


def executed(network: nn.Module) -> list[nn.Module]:
    """Convolutions, products and batch norms in the order in which they compute."""
    order: list[nn.Module] = []
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    hooks = [module.register_forward_pre_hook(lambda one, _: order.append(one))
             for module in network.modules() if isinstance(module, kinds)]  # fmt: skip
    with torch.no_grad():
        network(torch.zeros(1, 1, fashion_mnist.SIZE, fashion_mnist.SIZE))
    for hook in hooks:
        hook.remove()
    return order


def products(graph: onnx.GraphProto, stored: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Weight (outputs, inputs, ...) and bias of every node that multiplies by an initializer, in the order of the file."""
    found = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in stored:
            weight = stored[node.input[1]]
            found.append((weight.T if node.op_type == "MatMul" else weight, stored.get(node.input[2]) if len(node.input) > 2 else None))
    return found


@torch.no_grad()
def read(name: str, path: pathlib.Path) -> nn.Module:
    """The network, in evaluation, with norms that only add the folded biases. Raises Unavailable for another network's file."""
    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
    network = NETWORKS[name]().eval()
    state = network.state_dict()
    for key in state.keys() & stored.keys():
        state[key].copy_(torch.from_numpy(stored[key]))
    order = executed(network)
    layers = [(module, after) for module, after in zip(order, [*order[1:], None]) if not isinstance(module, nn.BatchNorm2d)]
    weights = products(graph, stored)
    if [tuple(layer.weight.shape) for layer, _ in layers] != [weight.shape for weight, _ in weights]:
        raise Unavailable(f"{path} is not the network {name} of demo/fashion_networks.py; export it again")
    for (layer, after), (weight, bias) in zip(layers, weights):
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
        if isinstance(after, nn.BatchNorm2d):
            after.weight.fill_((1 + after.eps) ** 0.5)  # the variance is 1
            after.bias.copy_(torch.from_numpy(bias))
        elif bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return network


@torch.no_grad()
def measure_norms(network: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Gives the norms of `read` the statistics of their inputs on these pictures (N, 1, 28, 28); the outputs stay."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    sums: dict[nn.Module, torch.Tensor] = {}

    def add(module: nn.Module, arguments: tuple) -> None:
        x = arguments[0].double()
        row = torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))])
        sums[module] = sums[module] + row if module in sums else row

    hooks = [norm.register_forward_pre_hook(add) for norm in norms]
    count = 0
    for pictures in batches:
        network(pictures)
        count += 1
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = sums[norm] / count
        variance = (square - mean**2).clamp_min(0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.add_(mean.to(norm.bias.dtype))
