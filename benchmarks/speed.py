"""How long a question takes: ``python -m benchmarks.speed FOLDER``.

Times the parts of an answer on a folder of documents, and compares the reader, in the same run and
on the same passages, with models of random weights in the shapes of T5-small and flan-t5-base that
write as many pieces as the reader's answer has. Ratios carry over between machines, seconds don't.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from qa import Chatbot, Reader

QUESTIONS = (
    "What did Scholz say about supply chains?",
    "When is the first consultation planned?",
    "Who did Finland and Sweden hand their applications to?",
    "How much does the Quad want to spend on infrastructure?",
    "Why was pipeline oil left out of the embargo?",
)
PASSAGES, PIECES = 8, 128  # what the readers are compared on
ROOM = 16  # pieces of them for the question
WRITTEN = 8  # pieces of the answer
SHAPES = {
    "T5-small": T5Config(decoder_start_token_id=0),
    "flan-t5-base": T5Config(
        vocab_size=32128,
        d_model=768,
        d_kv=64,
        d_ff=2048,
        num_layers=12,
        num_decoder_layers=12,
        num_heads=12,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=0,
    ),
}


def median(action: Callable[[], object], times: int) -> float:
    """Median seconds, after one call to warm up."""
    action()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def passages_of(reader: Reader, folder: Path) -> list[str]:
    """Stretches of the documents, each of as many pieces as wanted, room for a question left."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md")))
    offsets = reader.search.tokenizer.encode(text, add_special_tokens=False).offsets
    size = PIECES - ROOM
    cuts = [offsets[n * size : (n + 1) * size] for n in range(PASSAGES)]
    return [text[cut[0][0] : cut[-1][1]] for cut in cuts]


def t5(config: T5Config) -> Callable[[], object]:
    """Reads the same passages as one source, and writes as many pieces, greedily."""
    model = T5ForConditionalGeneration(config).eval()
    ids = torch.randint(10, 30_000, (PASSAGES, PIECES))

    def read() -> object:
        with torch.inference_mode():
            states = model.encoder(input_ids=ids).last_hidden_state  # (8, 128, D)
            joined = states.reshape(1, PASSAGES * PIECES, -1)
            return model.generate(
                encoder_outputs=BaseModelOutput(last_hidden_state=joined),
                decoder_input_ids=torch.zeros(1, 1, dtype=torch.long),
                attention_mask=torch.ones(joined.shape[:2], dtype=torch.long),
                max_new_tokens=WRITTEN,
                min_new_tokens=WRITTEN,
                do_sample=False,
            )

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the sample corpus, or other Markdown")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with TemporaryDirectory() as index:
        bot = Chatbot.open(args.folder, index=index)
        answers = [bot.ask(question) for question in QUESTIONS * args.times][len(QUESTIONS) :]
        for part in ("embed", "search", "read", "total"):
            middle = statistics.median(getattr(answer.timings, part) for answer in answers)
            print(f"{part:8} {1000 * middle:7.0f} ms")
    passages = passages_of(bot.reader, args.folder)
    ours = median(lambda: bot.reader.read(QUESTIONS[1], passages), args.times)
    print(f"{PASSAGES} passages of {PIECES} pieces: the reader {1000 * ours:.0f} ms")
    for name, config in SHAPES.items():
        theirs = median(t5(config), args.times)
        print(f"  a model shaped like {name}: {1000 * theirs:.0f} ms, {theirs / ours:.1f} times")


if __name__ == "__main__":
    main()
