"""Dropout as in BERT, and one for CPUs, where drawing new numbers is slow.

On the embeddings and on what each sublayer adds (Srivastava et al. 2014, "Dropout"; Vaswani et al.
2017, section 5.4). A CPU cuts its masks from one long one, and leaves the attention's weights
alone, since dropping some of them would forbid its fast kernel.
"""

import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertEmbeddings, BertOutput, BertSelfOutput

DRAWN = 1 << 24  # numbers of the long mask; a layer's output has less


class SlicedDropout(nn.Module):
    """Multiplies by a slice, at random, of a mask that is drawn once."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask  # no buffer: it is not part of what is learnt

    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return rows
        first = int(torch.randint(len(self.mask) - rows.numel(), ()))
        return rows * self.mask[first : first + rows.numel()].view_as(rows)


def with_dropout(model: nn.Module, share: float, device: torch.device) -> None:
    """Let the BERTs of the model, in place, train with that share of their numbers at zero."""
    if device.type == "cuda":
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = share
        return
    mask = (torch.rand(DRAWN, device=device) >= share).float() / (1 - share)
    for layer in model.modules():
        if isinstance(layer, BertEmbeddings | BertSelfOutput | BertOutput):
            layer.dropout = SlicedDropout(mask)
