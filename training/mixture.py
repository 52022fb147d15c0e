"""The training mixture, in one place: which sets, how much of each, and what is held back."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    name: str  # file name without .jsonl.gz
    share: float  # of its questions


GOLD = (  # stage 1: one passage a question
    Share("squad", 1.0),
    Share("squad2_hard", 1.0),
    Share("fairytaleqa", 1.0),
    Share("squadshifts_reddit", 1.0),
    Share("squadshifts_amazon", 1.0),
    Share("qed", 1.0),
    Share("qamr", 0.3),
    Share("tweetqa", 0.4),
    Share("policyqa", 0.2),
)
OPEN = (  # stage 2: what search returns, 1 to 8 passages a question
    Share("squad", 0.25),
    Share("squad2_hard", 0.5),
    Share("qed", 0.4),
)
STATEMENTS = (  # questions for whole statements, made by rule from these sets' paragraphs
    Share("squad", 1.0),
    Share("fairytaleqa", 0.35),
    Share("squadshifts_reddit", 1.0),
    Share("squadshifts_amazon", 1.0),
)
ASKED_STATEMENTS = 4000  # … so many, …
QUOTATIONS = 6000  # … beside those for sentences put into somebody's mouth
VEILED = 0.4  # of the former: with "he" for the speaker
OTHER_SPEAKER = 0.04  # of both: somebody else's name, so that there is no answer
OTHER_TOPIC = 0.04  # of both: something that nobody spoke about, likewise
STATEMENT_IN = 0.93  # share of the answerable ones that keep the paragraph with the statement
FOLLOW_UPS = 15_000  # made by rule, beside the recorded and the written ones
HELD_OUT = 0.1  # of statement questions and of recorded conversations, by title
NEGATIVES = 0.1  # of answerable questions, once more with a like paragraph of the same article
REMOVED = 0.1  # … once more without the sentence that holds the answer
CHANGED = 0.35  # … once more with a name, number or word changed, where that can be done
AGAIN_OTHERS = 0.5  # share of both stages' examples in a run that goes on …
AGAIN = {  # … and of these sources
    "gold": {
        "squad": 1.0,
        "question changed": 0.1,
        "squad2_hard": 1.0,
        "written": 1.0,
        "pairs": 1.0,
    },
    "open": {"canard": 0.5, "written follow-up": 1.0, "made follow-up": 1.0},
}
WHOLE = 2  # so often an example whose answer is a whole phrase, such as "coal from Russia"
HELD_BACK = (
    "1973 oil crisis",
    "Harvard University",
    "Oxygen",
    "Packet switching",
)  # of squad2_hard
SEED = 20220428
