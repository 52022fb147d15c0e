"""The reader's network: a pointer-generator on BERT, as a transformers model.

An encoder reads question and passage, a decoder writes the answer one word piece at a time, and at
each step a gate mixes the vocabulary's distribution with a pointer into the passages:
``p = g * p_vocab + (1 - g) * p_copy`` (See, Liu & Manning 2017, "Get To The Point"). Several
passages are encoded one by one and decoded together (Izacard & Grave 2021, Fusion-in-Decoder).

This module knows tensors only. Text, offsets and spans are the business of ``reader.py``.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BertConfig, BertModel, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.bert.modeling_bert import BertPredictionHeadTransform, BertPreTrainedModel

NOT_COPYABLE = -1  # in copy_ids: the pointer must not look at this position


class PointerGeneratorConfig(BertConfig):  # type: ignore[no-untyped-call]
    """A BERT configuration and a decoder's; ``num_hidden_layers`` is the encoder's depth."""

    model_type = "readback-pointer-generator"

    decoder_layers: int = 3
    no_answer_token_id: int = 1  # [unused0]: as first piece it means "not in these passages"
    sep_token_id: int = 102
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    is_encoder_decoder: bool = True
    decoder_start_token_id: int | None = 101
    bos_token_id: int | None = 101
    eos_token_id: int | list[int] | None = 102

    def part(self, *, decoder: bool) -> BertConfig:
        """The plain BERT configuration of the encoder or of the decoder."""
        values = {key: getattr(self, key) for key in BERT_KEYS}
        if decoder:
            values["num_hidden_layers"] = self.decoder_layers
        return BertConfig(**values, is_decoder=decoder, add_cross_attention=decoder)


BERT_KEYS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


class PointerGenerator(BertPreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """Encoder, decoder, vocabulary head, pointer and gate.

    Shapes: B questions, P passages each, S source pieces (of all passages joined), T target pieces,
    D width, V vocabulary.
    """

    config_class = PointerGeneratorConfig
    config: PointerGeneratorConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _tied_weights_keys = {  # noqa: RUF012 - transformers' own name and form
        "decoder.embeddings.word_embeddings.weight": "encoder.embeddings.word_embeddings.weight"
    }

    def __init__(self, config: PointerGeneratorConfig) -> None:
        super().__init__(config)
        self.encoder = BertModel(config.part(decoder=False), add_pooling_layer=False)
        self.decoder = BertModel(config.part(decoder=True), add_pooling_layer=False)
        self.head = BertPredictionHeadTransform(config)  # type: ignore[no-untyped-call]
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.pointer_query = nn.Linear(config.hidden_size, config.hidden_size)
        self.pointer_key = nn.Linear(config.hidden_size, config.hidden_size)
        self.gate = nn.Linear(config.hidden_size, 1)
        self.post_init()  # type: ignore[no-untyped-call]

    def get_encoder(self, *_: Any, **__: Any) -> BertModel:
        return self.encoder

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.encoder.embeddings.word_embeddings)

    def copy_ids(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Source pieces that the pointer may copy: the passage's own, no separator, no padding."""
        copyable = (token_type_ids == 1) & (attention_mask == 1)
        copyable &= input_ids != self.config.sep_token_id
        return input_ids.masked_fill(~copyable, NOT_COPYABLE)

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Encode passages one by one and join them.

        Inputs are (B, P, L) or, for one passage each, (B, L). Returns, joined, the states
        (B, P*L, D), the mask (B, P*L) and the copy ids (B, P*L).
        """
        copy_ids = self.copy_ids(input_ids, attention_mask, token_type_ids)
        batch, length = input_ids.shape[0], input_ids.shape[-1]
        states = self.encoder(
            input_ids=input_ids.reshape(-1, length),  # (B*P, L)
            attention_mask=attention_mask.reshape(-1, length),
            token_type_ids=token_type_ids.reshape(-1, length),
        ).last_hidden_state  # (B*P, L, D)
        states = states.reshape(batch, -1, states.shape[-1])  # (B, P*L, D)
        return states, attention_mask.reshape(batch, -1), copy_ids.reshape(batch, -1)

    def decode(
        self,
        decoder_input_ids: Tensor,
        states: Tensor,
        attention_mask: Tensor,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> tuple[Tensor, Any]:
        """Decoder states (B, T, D) for the pieces so far, and the cache."""
        output = self.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=states,
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        return output.last_hidden_state, output.past_key_values

    def vocabulary_scores(self, outputs: Tensor) -> Tensor:
        """Logits over the vocabulary (…, V) of decoder states (…, D)."""
        return F.linear(
            self.head(outputs), self.encoder.embeddings.word_embeddings.weight, self.head_bias
        )

    def pointer_scores(self, outputs: Tensor, states: Tensor, copy_ids: Tensor) -> Tensor:
        """Log-probabilities (B, T, S) of copying from each place."""
        scores: Tensor = self.pointer_query(outputs) @ self.pointer_key(states).transpose(1, 2)
        scores = scores.float() / self.config.hidden_size**0.5
        scores = scores.masked_fill((copy_ids == NOT_COPYABLE)[:, None, :], -1e9)
        return scores.log_softmax(-1)

    def log_gates(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, 1) of writing from the vocabulary and of copying."""
        gate = self.gate(outputs).float()
        return F.logsigmoid(gate), F.logsigmoid(-gate)

    def log_probs(self, outputs: Tensor, states: Tensor, copy_ids: Tensor) -> Tensor:
        """Log of the mixed distribution (B, T, V): of a piece, the sum over its places."""
        write, copy = self.log_gates(outputs)
        mixed = self.vocabulary_scores(outputs).float().softmax(-1) * write.exp()  # (B, T, V)
        places = self.pointer_scores(outputs, states, copy_ids).exp() * copy.exp()  # (B, T, S)
        pieces = copy_ids.clamp(min=0)[:, None, :].expand_as(places)
        return mixed.scatter_add(-1, pieces, places).clamp(min=1e-30).log()

    def log_prob_of(
        self, outputs: Tensor, states: Tensor, copy_ids: Tensor, pieces: Tensor
    ) -> Tensor:
        """``log_probs`` of chosen pieces only (B, T, N), much cheaper than of all."""
        write, copy = self.log_gates(outputs)  # (B, T, 1)
        scores = self.vocabulary_scores(outputs).float()  # (B, T, V)
        written = scores.gather(-1, pieces) - scores.logsumexp(-1, keepdim=True)  # (B, T, N)
        places = self.pointer_scores(outputs, states, copy_ids)  # (B, T, S)
        same = copy_ids[:, None, None, :] == pieces[..., None]  # (B, T, N, S)
        copied = places[:, :, None, :].masked_fill(~same, -1e9).logsumexp(-1)
        return torch.logaddexp(written + write, copied + copy)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        copy_ids: Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Log-probabilities, as ``logits`` (B, T, V), of the next pieces.

        Either the passages (``input_ids``, ``attention_mask``, ``token_type_ids``; see ``encode``)
        or their joined states (``encoder_outputs``, ``attention_mask``, ``copy_ids``) are given.
        """
        if encoder_outputs is None:
            assert input_ids is not None and attention_mask is not None
            assert token_type_ids is not None
            states, attention_mask, copy_ids = self.encode(
                input_ids, attention_mask, token_type_ids
            )
        else:
            states = encoder_outputs[0]
        assert attention_mask is not None and copy_ids is not None
        assert decoder_input_ids is not None
        outputs, past_key_values = self.decode(
            decoder_input_ids, states, attention_mask, past_key_values, bool(use_cache)
        )
        return Seq2SeqLMOutput(
            logits=cast(Any, self.log_probs(outputs, states, copy_ids)),
            past_key_values=past_key_values,
            encoder_last_hidden_state=states,
        )

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self, inputs: Tensor | None = None, **options: Any
    ) -> Any:
        """As in transformers: from ``input_ids`` or from ``encoder_outputs``, see ``forward``.

        Passages are encoded here, since the pointer needs their pieces at every step.
        """
        ids = inputs if inputs is not None else options.pop("input_ids", None)
        if ids is not None:
            mask = options.pop("attention_mask", torch.ones_like(ids))
            segments = options.pop("token_type_ids", torch.ones_like(ids))
            states, options["attention_mask"], options["copy_ids"] = self.encode(
                ids, mask, segments
            )
            options["encoder_outputs"] = BaseModelOutput(last_hidden_state=cast(Any, states))
        return super().generate(**options)  # type: ignore[misc]


AutoConfig.register(PointerGeneratorConfig.model_type, PointerGeneratorConfig)
AutoModelForSeq2SeqLM.register(PointerGeneratorConfig, PointerGenerator)
