"""BERT's encoder over texts laid end to end: nothing is padded, and nothing is computed twice.

All of it but the attention works row by row, so texts of any length go through it as the rows of
one matrix, and a text's result does not depend on what is beside it. What the layers add to the
rows is computed in bfloat16 where the processor multiplies that fast; the rows stay float32.

Shapes: S pieces of all texts, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel

from index.embedder import processor_has

# The type of the products: bfloat16 where the processor multiplies that fast.
FAST = torch.bfloat16 if processor_has("avx512_bf16", "amx_bf16") else torch.float32


class Linear:
    """Linear layers that read the same input, side by side: (N, K) to (N, M) of their own type."""

    def __init__(self, *layers: nn.Linear, dtype: torch.dtype) -> None:
        self.weight = torch.cat([layer.weight.detach() for layer in layers]).to(dtype)  # (M, K)
        self.bias = torch.cat([layer.bias.detach() for layer in layers]).to(dtype)  # (M,)

    def __call__(self, rows: Tensor) -> Tensor:
        return F.linear(rows.to(self.weight.dtype), self.weight, self.bias)


class Layer:
    """Self-attention and feed-forward network, each with what goes past it and LayerNorm."""

    def __init__(self, layer: Any, heads: int, dtype: torch.dtype) -> None:
        attention, own = layer.attention, layer.attention.self
        self.heads = heads
        self.project = Linear(own.query, own.key, own.value, dtype=dtype)
        self.join = Linear(attention.output.dense, dtype=dtype)
        self.attended = attention.output.LayerNorm
        self.widen = Linear(layer.intermediate.dense, dtype=dtype)
        self.narrow = Linear(layer.output.dense, dtype=dtype)
        self.finished = layer.output.LayerNorm

    def __call__(self, rows: Tensor, lengths: list[int]) -> Tensor:
        """Rows (S, D) to rows; each text of so many pieces hears itself alone."""
        split = self.project(rows).view(len(rows), 3, self.heads, -1)  # (S, 3, H, D / H)
        heard = torch.empty_like(split[:, 0])  # (S, H, D / H)
        texts = zip(torch.split(split, lengths), torch.split(heard, lengths), strict=True)
        for text, out in texts:
            query, key, value = text.permute(1, 2, 0, 3)[:, None]  # (1, H, L, D / H) each
            out.copy_(F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1))
        rows = self.attended(rows + self.join(heard.view(rows.shape)))
        return cast(Tensor, self.finished(rows + self.narrow(F.gelu(self.widen(rows)))))


class Encoder:
    """Computes what the BERT that it is made from does. For inference alone."""

    def __init__(self, bert: BertModel, *, dtype: torch.dtype = FAST) -> None:
        """``dtype`` is that of the products.

        Raises ValueError for another activation than GELU.
        """
        if bert.config.hidden_act != "gelu":
            raise ValueError(f"the encoder's activation is {bert.config.hidden_act}, not gelu")
        self._embeddings = bert.embeddings
        heads = bert.config.num_attention_heads
        self._layers = [Layer(layer, heads, dtype) for layer in bert.encoder.layer]

    @torch.inference_mode()
    def __call__(self, ids: Tensor, segments: Tensor, lengths: Sequence[int]) -> Tensor:
        """States (S, D) of pieces (S,) in their segments (S,), texts of so many pieces each."""
        lengths = list(lengths)
        positions = torch.cat([torch.arange(length) for length in lengths])  # (S,)
        rows: Tensor = self._embeddings(
            input_ids=ids[None], token_type_ids=segments[None], position_ids=positions[None]
        )[0]
        for layer in self._layers:
            rows = layer(rows, lengths)
        return rows
