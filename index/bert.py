"""BERT as a graph of ONNX Runtime's fused operators, made from its own weights.

A text goes through it by itself: nothing is padded, and its vector depends on nothing beside it.

In eight bits, weights are rounded once, each output's by a scale of its own; activations as they
come, by one scale a text and product ("dynamic quantisation"). What comes out of GELU is mostly
near zero and at times far from it, so that one scale loses more there than anywhere else; in the
first layers, whose errors go through all others, that product stays float32, as softmax, LayerNorm
and GELU do in all.

The operators: github.com/microsoft/onnxruntime, docs/ContribOperators.md. Shapes: L pieces of a
text, D width, K and M features in and out of a product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

FUSED = "com.microsoft"  # the domain of ONNX Runtime's own operators
EXACT = 2  # layers whose product after GELU stays float32
OPSET = 20
IR_VERSION = 10  # of the file format; the newest that is written may be too new to be read

Floats = NDArray[np.float32]


class Bert:
    """The mean of what BERT makes of a text's word pieces, of length 1. Threads may share it."""

    def __init__(self, folder: Path, *, in_bytes: bool) -> None:
        """Raises OSError without the model, ValueError for another activation than GELU."""
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if config["hidden_act"] != "gelu":
            raise ValueError(f"the encoder's activation is {config['hidden_act']}, not gelu")
        weights = load_file(folder / "model.safetensors")
        self._words: Floats = weights["embeddings.word_embeddings.weight"]  # (V, D)
        self._places: Floats = (  # (P, D); every piece is of segment 0
            weights["embeddings.position_embeddings.weight"]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._session = _session(_Graph(weights, config, in_bytes=in_bytes))

    def __call__(self, pieces: Sequence[int]) -> Floats:
        """The vector (D,) of one text's pieces."""
        rows = self._words[pieces] + self._places[: len(pieces)]  # (L, D)
        (vector,) = self._session.run(None, {"rows": rows[None]})
        return np.asarray(vector[0], dtype=np.float32)


class _Graph:
    """The graph from the embeddings' sum (1, L, D) to the text's vector (1, D)."""

    def __init__(
        self, weights: Mapping[str, Floats], config: Mapping[str, Any], *, in_bytes: bool
    ) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._weights = weights
        self._in_bytes = in_bytes
        self._epsilon: float = config["layer_norm_eps"]
        self._heads: int = config["num_attention_heads"]
        norm = self._norm("embeddings")
        rows = self._add("LayerNormalization", "rows", *norm, epsilon=self._epsilon)
        for number in range(config["num_hidden_layers"]):
            rows = self._layer(rows, f"encoder.layer.{number}", exact=number < EXACT)
        mean = self._add("ReduceMean", rows, self._constant("axes", np.array([1])), keepdims=0)
        self.vector = self._add("LpNormalization", mean, axis=-1, p=2)

    def _layer(self, rows: str, name: str, *, exact: bool) -> str:
        """Self-attention and feed-forward network, each with what goes past it and LayerNorm."""
        own = (f"{name}.attention.self.{part}" for part in ("query", "key", "value"))
        projected = (self._linear(rows, part) for part in own)
        heard = self._fused("MultiHeadAttention", *projected, num_heads=self._heads)
        joined = self._linear(heard, f"{name}.attention.output.dense")
        rows = self._past(joined, rows, f"{name}.attention.output")
        wide = self._fused("Gelu", self._linear(rows, f"{name}.intermediate.dense"))
        narrow = self._linear(wide, f"{name}.output.dense", exact=exact)
        return self._past(narrow, rows, f"{name}.output")

    def _linear(self, rows: str, name: str, *, exact: bool = False) -> str:
        weight, bias = self._weights[f"{name}.weight"].T, self._weights[f"{name}.bias"]  # (K, M)
        added = self._constant(f"{name}.bias", bias)
        if exact or not self._in_bytes:
            product = self._add("MatMul", rows, self._constant(f"{name}.weight", weight))
            return self._add("Add", product, added)
        scale = np.abs(weight).max(0) / 127  # (M,)
        return self._fused(
            "DynamicQuantizeMatMul",
            rows,
            self._constant(f"{name}.bytes", np.rint(weight / scale).astype(np.int8)),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero", np.zeros(scale.shape, np.int8)),
            added,
        )

    def _past(self, rows: str, before: str, name: str) -> str:
        """LayerNorm of the sum."""
        norm = self._norm(name)
        return self._fused("SkipLayerNormalization", rows, before, *norm, epsilon=self._epsilon)

    def _norm(self, name: str) -> list[str]:
        parts = (f"{name}.LayerNorm.{part}" for part in ("weight", "bias"))
        return [self._constant(part, self._weights[part]) for part in parts]

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _fused(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._add(operator, *inputs, domain=FUSED, **attributes)

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; the name of its result."""
        name = f"{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name


def _session(graph: _Graph) -> onnxruntime.InferenceSession:
    """The graph, ready to run, each run on one core."""
    given = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, "pieces", None])
    made = helper.make_tensor_value_info(graph.vector, TensorProto.FLOAT, [1, None])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "bert", [given], [made], graph.constants),
        opset_imports=opsets,
        ir_version=IR_VERSION,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
