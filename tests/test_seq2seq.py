"""Other readers: a tiny T5 and a tiny BART, saved and loaded by path as any model would be."""

from pathlib import Path

import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from qa.reader import Reader
from qa.reader.search import preference
from qa.reader.spans import word_edge

PASSAGES = [
    "Olaf Scholz met Fumio Kishida in Tokyo on 28 April 2022.",
    "“Nobody may depend on one country. It takes time,” Scholz said.",
    "Re\u0301sume\u0301s were read in 東京 \U0001f600 by no one.",
]
SPECIAL = ["<pad>", "</s>", "<s>", "<unk>"]
SIZES = {"vocab_size": 300, "decoder_start_token_id": 1, "pad_token_id": 0, "eos_token_id": 1}


def save_tokenizer(folder: Path) -> None:
    """Byte-level pieces: every text has some."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(PASSAGES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module", params=["t5", "bart"])
def other(request, tmp_path_factory) -> Reader:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "t5":
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
        T5ForConditionalGeneration(T5Config(**sizes, **SIZES)).save_pretrained(folder)
    else:
        sizes = {"d_model": 16, "max_position_embeddings": 512, "bos_token_id": 2}
        for part in ("encoder", "decoder"):
            sizes |= {f"{part}_layers": 2, f"{part}_ffn_dim": 32, f"{part}_attention_heads": 2}
        config = BartConfig(**sizes, **SIZES, forced_bos_token_id=2)
        BartForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizer(folder)
    return Reader.load(folder)


@pytest.mark.parametrize(
    "question", ["Who met whom?", "What did Scholz say?", "Where?", "long " * 200]
)
def test_readings_are_slices_at_word_edges(other: Reader, question: str):
    reading = other.read(question, PASSAGES)
    text = PASSAGES[reading.passage]
    assert text[reading.start : reading.end] == reading.text != ""
    assert word_edge(text, reading.start) and word_edge(text, reading.end)
    assert 0 <= reading.confidence <= 1
    assert other.provisional


def test_scores_are_those_of_the_model(other: Reader):
    """The best span scores what the model's own loss says of it."""
    search = other.search
    best = search.find("Who met whom?", PASSAGES).spans[0]
    states, mask = search.encode("Who met whom?", PASSAGES)
    answer = PASSAGES[best.passage][best.start : best.end]
    ids = search.tokenizer.encode(answer, add_special_tokens=False).ids
    written = torch.tensor([[*search.opening(), *ids, search.model.config.eos_token_id]])
    with torch.inference_mode():
        log_probs = search.log_probs(states, mask, written[:, :-1])[0]
    chosen = log_probs.gather(-1, written[0, 1:, None])[len(search.opening()) - 1 :]
    expected = chosen.sum().item() + preference(best.passage)
    assert best.score == pytest.approx(expected, abs=1e-3)


def test_nothing_to_read(other: Reader):
    assert other.read("Who?", []) is None
    assert other.read("Who?", ["", "…"]) is None
