"""The network as a transformers model: weights, tying, generation."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM
from transformers.modeling_outputs import BaseModelOutput

from qa.reader.model import NOT_COPYABLE, PointerGenerator, PointerGeneratorConfig
from qa.reader.reader import SHIPPED


@pytest.fixture(scope="module")
def tiny() -> PointerGenerator:
    torch.manual_seed(0)
    config = PointerGeneratorConfig(
        vocab_size=120,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        decoder_layers=2,
        max_position_embeddings=64,
        decoder_start_token_id=101,
        bos_token_id=101,
    )
    return PointerGenerator(config).eval()


def inputs(*rows: list[int], head: int = 3) -> dict[str, torch.Tensor]:
    """Padded rows, of which the pieces from ``head`` on are the passage."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = (ids != 0).long()
    segments = mask.clone()
    segments[:, :head] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}


def test_shipped_weights_are_whole_and_tied():
    model, report = AutoModelForSeq2SeqLM.from_pretrained(
        SHIPPED, dtype=torch.float32, output_loading_info=True
    )
    assert isinstance(model, PointerGenerator)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    words = model.encoder.embeddings.word_embeddings.weight
    assert model.decoder.embeddings.word_embeddings.weight.data_ptr() == words.data_ptr()
    assert model.dtype == torch.float32


def test_probabilities_sum_to_one(tiny):
    batch = inputs([101, 7, 102, 9, 8, 9, 102], [101, 7, 102, 5, 102])
    logits = tiny(**batch, decoder_input_ids=torch.tensor([[101, 9], [101, 5]])).logits
    assert torch.allclose(logits.exp().sum(-1), torch.ones(2, 2), atol=1e-5)


def test_chosen_pieces_have_the_same_probability(tiny):
    batch = inputs([101, 7, 102, 9, 8, 9, 102], [101, 7, 102, 5, 102])
    states, mask, copy_ids = tiny.encode(**batch)
    outputs, _ = tiny.decode(torch.tensor([[101, 9], [101, 5]]), states, mask)
    pieces = torch.tensor([[[9, 102], [8, 3]], [[5, 102], [7, 9]]])  # (B, T, N)
    chosen = tiny.log_prob_of(outputs, states, copy_ids, pieces)
    every = tiny.log_probs(outputs, states, copy_ids)
    assert torch.allclose(chosen, every.gather(-1, pieces), atol=1e-4)


def test_pointer_sees_the_passage_only(tiny):
    batch = inputs([101, 7, 102, 9, 8, 102], [101, 7, 102, 5, 102])
    copy_ids = tiny.copy_ids(**batch)
    none = NOT_COPYABLE
    assert copy_ids.tolist() == [[none, none, none, 9, 8, none], [none, none, none, 5, none, none]]


def test_saved_model_gives_the_same_output(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir() if path.stat().st_size > 9_000] == [
        ".safetensors"
    ]
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    batch = inputs([101, 7, 102, 9, 8, 102]) | {"decoder_input_ids": torch.tensor([[101, 8]])}
    assert torch.equal(tiny(**batch).logits, again(**batch).logits)


def test_generate_agrees_with_greedy_by_hand(tiny):
    batch = inputs([101, 7, 102, 9, 8, 9, 102])
    written = torch.tensor([[101]])
    for _ in range(6):
        best = tiny(**batch, decoder_input_ids=written).logits[:, -1].argmax(-1)
        written = torch.cat([written, best[:, None]], 1)
    generated = tiny.generate(**batch, max_new_tokens=6, do_sample=False, eos_token_id=None)
    assert generated.tolist() == written.tolist()
    beams = tiny.generate(**batch, max_new_tokens=6, num_beams=3, eos_token_id=None)
    assert beams.shape == (1, 7)


def test_generate_from_several_joined_passages(tiny):
    batch = inputs([101, 7, 102, 9, 8, 9, 102], [101, 7, 102, 5, 102])
    joined = {name: tensor[None] for name, tensor in batch.items()}  # (1, 2, L)
    states, mask, copy_ids = tiny.encode(**joined)
    source = {
        "encoder_outputs": BaseModelOutput(last_hidden_state=states),
        "attention_mask": mask,
        "copy_ids": copy_ids,
    }
    generated = tiny.generate(**source, max_new_tokens=4, do_sample=False, eos_token_id=None)
    forced = tiny(**joined, decoder_input_ids=generated[:, :-1]).logits
    assert forced.argmax(-1).tolist() == generated[:, 1:].tolist()
