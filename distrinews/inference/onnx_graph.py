"""Write a DistilBERT classifier as an ONNX graph, straight from its weights.

Promise: the graph computes the same function, to rounding, for texts without padding:
each row of a batch has the same number of tokens, and none is a filler.

Why not `torch.onnx.export`: with transformers 5 it took 20 s on two cores, needs torch
and a further package, and attention came out as thirty nodes that ONNX Runtime does not
fuse. Here each layer is six nodes, and writing them takes a second and no torch.

Not here: files and int8 (`distrinews.inference.onnx_export`).

Letters used for shapes: B = texts, T = tokens, H = width, C = classes.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["FUSED", "build"]

# Operators that ONNX Runtime adds to the standard: many steps in one.
FUSED = ("Attention", "BiasGelu", "SkipLayerNormalization")
EPSILON = 1e-12  # of DistilBERT's layer norms
OPSET, IR_VERSION = 17, 8  # what ONNX Runtime 1.20 reads, and later ones
Weights = Mapping[str, npt.NDArray[np.float32]]


def build(weights: Weights, config: Mapping[str, Any]) -> ModelProto:
    """Build the graph from `input_ids` int32 [B, T] to `logits` float32 [B, C].

    Args:
        weights: Tensors as transformers names them.
        config: The model's configuration.

    Returns:
        A model that ONNX Runtime runs.

    Raises:
        KeyError: A weight is missing: it is no DistilBERT classifier.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph(weights)
    x = _embed(graph)  # [B, T, H]
    for layer in range(config["n_layers"]):
        is_last = layer == config["n_layers"] - 1
        x = _layer(graph, x, layer, num_heads=config["n_heads"], first_only=is_last)
    x = graph.add("Squeeze", x, graph.constant("1", [1]))  # [B, 1, H] -> [B, H]
    x = graph.add("Relu", graph.linear(x, "pre_classifier"))
    graph.add("Identity", graph.linear(x, "classifier"), output="logits")
    num_classes = len(weights["classifier.bias"])
    graph_proto = helper.make_graph(
        graph.nodes,
        "distilbert",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["B", "T"])],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["B", num_classes]
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in graph.tensors.items()],
    )
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph_proto, opset_imports=versions, ir_version=IR_VERSION)


class _Graph:
    """Nodes and tensors of a graph that grows from its input to its output."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.tensors: dict[str, npt.NDArray[Any]] = {}

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node; return the name of its output."""
        from onnx import helper

        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(
                kind,
                inputs,
                [output],
                name=output,
                domain="com.microsoft" if kind in FUSED else "",
                **attributes,
            )
        )
        return output

    def constant(self, name: str, value: Any) -> str:
        """Store a tensor; return its name."""
        array = np.asarray(value)
        self.tensors[name] = np.ascontiguousarray(array)
        return name

    def weight(self, name: str) -> str:
        """Store a weight as it is."""
        return self.constant(name, self.weights[name])

    def matrix(self, *names: str) -> str:
        """Store weights of linear layers, side by side: [H, all outputs]."""
        # WHY transposed: torch keeps [outputs, H], MatMul multiplies from the right.
        columns = [self.weights[f"{name}.weight"].T for name in names]
        return self.constant("+".join(names) + ".matrix", np.concatenate(columns, 1))

    def linear(self, x: str, name: str) -> str:
        """Add a linear layer."""
        x = self.add("MatMul", x, self.matrix(name))
        return self.add("Add", x, self.weight(f"{name}.bias"))


def _embed(graph: _Graph) -> str:
    """Word and position vectors, added and normalised."""
    prefix = "distilbert.embeddings"
    words = graph.weight(f"{prefix}.word_embeddings.weight")
    positions = graph.weight(f"{prefix}.position_embeddings.weight")
    num_tokens = graph.add("Shape", "input_ids", start=1, end=2)
    zero = graph.constant("0", [0])
    x = graph.add(
        "Add",
        graph.add("Gather", words, "input_ids"),
        graph.add("Slice", positions, zero, num_tokens, zero),
    )
    scale, shift = (graph.weight(f"{prefix}.LayerNorm.{n}") for n in ("weight", "bias"))
    return graph.add("LayerNormalization", x, scale, shift, epsilon=EPSILON)


def _layer(
    graph: _Graph, x: str, layer: int, *, num_heads: int, first_only: bool
) -> str:
    """One transformer layer, [B, T, H] -> [B, T, H]."""
    prefix = f"distilbert.transformer.layer.{layer}"
    names = [f"{prefix}.attention.{part}_lin" for part in "qkv"]
    biases = np.concatenate([graph.weights[f"{name}.bias"] for name in names])
    context = graph.add(
        "Attention",
        x,
        graph.matrix(*names),
        graph.constant(f"{prefix}.attention.qkv.bias", biases),
        num_heads=num_heads,
    )
    if first_only:
        # WHY: the classifier reads the first token only. In the last layer the others
        # are looked at but need not be computed: an eighth of the model's work less.
        zero, one = graph.constant("0", [0]), graph.constant("1", [1])
        context, x = (graph.add("Slice", part, zero, one, one) for part in (context, x))
    context = graph.add("MatMul", context, graph.matrix(f"{prefix}.attention.out_lin"))
    x = _add_and_norm(
        graph,
        context,
        x,
        bias=f"{prefix}.attention.out_lin",
        norm=f"{prefix}.sa_layer_norm",
    )
    inner = graph.add("MatMul", x, graph.matrix(f"{prefix}.ffn.lin1"))
    inner = graph.add("BiasGelu", inner, graph.weight(f"{prefix}.ffn.lin1.bias"))
    inner = graph.add("MatMul", inner, graph.matrix(f"{prefix}.ffn.lin2"))
    return _add_and_norm(
        graph, inner, x, bias=f"{prefix}.ffn.lin2", norm=f"{prefix}.output_layer_norm"
    )


def _add_and_norm(graph: _Graph, update: str, x: str, *, bias: str, norm: str) -> str:
    """Layer norm of `new + bias + x`."""
    names = (f"{norm}.weight", f"{norm}.bias", f"{bias}.bias")
    parts = [graph.weight(name) for name in names]
    return graph.add("SkipLayerNormalization", update, x, *parts, epsilon=EPSILON)
