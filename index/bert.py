"""BERT's encoder over texts laid end to end: nothing is padded, and nothing is computed twice.

All of it but the attention works row by row, so texts of any length go through it as the rows of
one matrix. Where the processor multiplies bytes, the products are of eight bits, which is twice as
fast: each row of the activations and each row of a weight matrix is rounded by a scale of its own
(vector-wise quantisation: Dettmers et al. 2022, "LLM.int8()"), and the sums are exact. Either way
a text's result does not depend on what is beside it.

Shapes: S pieces of all texts, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel


class FloatLinear:
    """Linear layers that read the same input, side by side: (N, K) to (N, M)."""

    def __init__(self, *layers: nn.Linear) -> None:
        self.weight = torch.cat([layer.weight.detach() for layer in layers])  # (M, K)
        self.bias = torch.cat([layer.bias.detach() for layer in layers])  # (M,)

    def __call__(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self.weight, self.bias)


def round_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, K) as int8, and their scales (N, 1)."""
    largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_())
    scale = largest.clamp_(min=1e-12).div_(127)
    return (rows * scale.reciprocal()).round_().to(torch.int8), scale


class ByteLinear:
    """The same in eight bits."""

    def __init__(self, *layers: nn.Linear) -> None:
        joined = FloatLinear(*layers)
        weight, scale = round_rows(joined.weight)  # (M, K), (M, 1)
        self.weight = weight.t()  # (K, M)
        self.scale = scale.t().contiguous()  # (1, M)
        self.bias = joined.bias  # (M,)

    def __call__(self, rows: Tensor) -> Tensor:
        rounded, scale = round_rows(rows)
        product = torch._int_mm(rounded, self.weight)  # (N, M), int32
        return torch.addcmul(self.bias, product.float().mul_(scale), self.scale)


def has_byte_products() -> bool:
    """Whether this processor multiplies bytes quickly, and this torch knows how."""
    ask: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()  # empty in older versions of torch
    fast = capabilities.get("avx512_vnni") or capabilities.get("avx_vnni")
    library = cast(Any, torch.backends.mkldnn)  # without it, `_int_mm` is slow
    return bool(fast and library.is_available() and hasattr(torch, "_int_mm"))


class Layer:
    """Self-attention and feed-forward network, each with what goes past it and LayerNorm."""

    def __init__(self, layer: Any, heads: int, linear: type[FloatLinear | ByteLinear]) -> None:
        attention, own = layer.attention, layer.attention.self
        self.heads = heads
        self.project = linear(own.query, own.key, own.value)
        self.join = linear(attention.output.dense)
        self.attended = attention.output.LayerNorm
        self.widen = linear(layer.intermediate.dense)
        self.narrow = linear(layer.output.dense)
        self.finished = layer.output.LayerNorm

    def __call__(self, rows: Tensor, lengths: list[int]) -> Tensor:
        """Rows (S, D) to rows; each text of so many pieces hears itself alone."""
        split = self.project(rows).view(len(rows), 3, self.heads, -1)  # (S, 3, H, D / H)
        heard = torch.empty(len(rows), self.heads, split.shape[-1])  # (S, H, D / H)
        texts = zip(torch.split(split, lengths), torch.split(heard, lengths), strict=True)
        for text, out in texts:
            query, key, value = text.permute(1, 2, 0, 3)[:, None]  # (1, H, L, D / H) each
            out.copy_(F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1))
        rows = self.attended(self.join(heard.view(rows.shape)).add_(rows))
        return cast(Tensor, self.finished(self.narrow(F.gelu(self.widen(rows))).add_(rows)))


class Encoder:
    """Computes what the BERT that it is made from does. For inference alone."""

    def __init__(self, bert: BertModel, *, in_bytes: bool) -> None:
        """Raises ValueError for another activation than GELU."""
        if bert.config.hidden_act != "gelu":
            raise ValueError(f"the encoder's activation is {bert.config.hidden_act}, not gelu")
        self._embeddings = bert.embeddings
        linear = ByteLinear if in_bytes else FloatLinear
        heads = bert.config.num_attention_heads
        self._layers = [Layer(layer, heads, linear) for layer in bert.encoder.layer]

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
