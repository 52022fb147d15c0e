"""Which passages are copies of one another: wire stories, reprints, boilerplate.

Two passages are copies when their words differ little and nothing that tells one fact from another
differs; see `Wording.is_copy_of`. `band_keys` finds candidates without comparing all with all:
locality-sensitive hashing of MinHashes (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of
Massive Datasets, chapter 3). A candidate is a copy only when `is_copy_of` says so. Not for storing
the keys (`catalog`) and not for choosing which copy is shown (`ranking`).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

MIN_JACCARD = 0.7  # of the pairs of neighbouring words, those in both among those in either
MAX_NEW_WORDS = 5  # that one copy may have and the other lack
# With these, a copy is a candidate with a chance of 94 % at a Jaccard index of 0.7, of 99.5 % at
# 0.8; an unrelated passage, at 0.05, of 0.006 %. Changing them, or what a Wording holds, needs a
# new version of the catalog's schema.
BANDS = 10
ROWS = 4  # MinHash values in a band

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[$€£¥]")
_TELLING = re.compile(r"[\d$€£¥]|n't$")
_SMALL = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen twenty"
)
_TENS = "thirty forty fifty sixty seventy eighty ninety"
_NUMBERS = {
    **{word: str(number) for number, word in enumerate(_SMALL.split(), 2)},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), 3)},
}
# Words that make another fact of a sentence, beside numerals.
_TURNING = frozenset(
    """
    dozen dozens hundred hundreds thousand thousands million millions billion billions trillion
    half twice first second third last
    not no never nor neither none nobody nothing without cannot
    before after until more less fewer above below over under up down against
    """.split()
)
# Written with a capital they are no names but open a sentence.
_OPENERS = frozenset(
    "a an and as at but by for from in it of on or so that the this to with".split()
)

_AGENCIES = "AFP|ANI|AP|Bloomberg|CNN|DPA|Interfax|Jiji Press|Kyodo(?: News)?|PTI|Reuters|TASS|UPI"
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
# "TOKYO, April 28 (Reuters) -", "Tokyo (dpa) -", "TOKYO, Japan, April 28 -", with any dash
_DATELINE = re.compile(
    rf"""\W*(?:
        [A-Z][^\n()]{{0,60}} \( (?i:{_AGENCIES}|Xinhua|Yonhap) \)
      | (?:[A-Z][A-Z.'-]+[ ,]+)+ (?:[A-Z][a-z]+,[ ])? (?:{_MONTHS})[a-z]*\.?[ ]\d\d?(?:,[ ]\d{{4}})?
    )\s*[-\u2013\u2014]+\s""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Wording:
    """What is compared of a passage. Spacing, punctuation, quotes, case and the place, day and
    agency at its head count for nothing.
    """

    words: frozenset[str]
    pairs: frozenset[str]  # of neighbouring words; the words themselves when there is but one
    facts: tuple[str, ...]  # numbers, negations and their like, in order
    names: tuple[str, ...]  # words written with a capital, in order

    @classmethod
    def of(cls, text: str) -> Wording:
        plain = unicodedata.normalize("NFKC", text).replace("’", "'").replace("\u00ad", "")
        if dateline := _DATELINE.match(plain):
            plain = plain[dateline.end() :]
        words, facts, names = [], [], []
        for written in _WORD.findall(plain):
            word = written.casefold().removesuffix("'s")
            word = _NUMBERS.get(word, word)
            words.append(word)
            if word in _TURNING or (not word.isalpha() and _TELLING.search(word)):
                facts.append(word)
            elif written[0].isupper() and word not in _OPENERS:
                names.append(word)
        words = words or [text.strip()]
        pairs = [" ".join(pair) for pair in pairwise(words)] or words
        return cls(frozenset(words), frozenset(pairs), tuple(facts), tuple(names))

    def is_copy_of(self, other: Wording) -> bool:
        """Whether no reader would miss one of both who has the other.

        The same numbers and negations in the same order; of names, one may leave some out but has
        no others and none elsewhere; each has at most MAX_NEW_WORDS words that the other lacks;
        and the Jaccard index of their pairs of words is at least MIN_JACCARD. So "killed 12" is no
        copy of "killed 40", however long the rest, nor is "Germany beat Brazil" of the reverse.
        """
        if self.facts != other.facts:
            return False
        if max(len(self.words - other.words), len(other.words - self.words)) > MAX_NEW_WORDS:
            return False
        common = len(self.pairs & other.pairs)
        if common < MIN_JACCARD * (len(self.pairs) + len(other.pairs) - common):
            return False
        shorter, longer = sorted((self.names, other.names), key=len)
        return _is_within(shorter, longer)


def band_keys(texts: Iterable[str]) -> Iterator[frozenset[int]]:
    """The keys of each text, signed and of 64 bits; copies most likely have one in common."""
    from datasketch import MinHash

    empty = MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32, scheme="affine32")
    for text in texts:
        wording = Wording.of(text)
        sketch = empty.copy()
        sketch.update_batch(pair.encode(errors="replace") for pair in wording.pairs)
        yield _keys(sketch.hashvalues.astype("<u4").tobytes(), wording.facts)


def _keys(values: bytes, facts: Iterable[str]) -> frozenset[int]:
    """A key for each band of MinHash values; other facts give other keys."""
    told = " ".join(facts).encode(errors="replace")
    size = 4 * ROWS  # bytes of a band
    keys = set()
    for band in range(BANDS):
        part = values[band * size : (band + 1) * size]
        digest = hashlib.blake2b(bytes([band]) + part + told, digest_size=8).digest()
        keys.add(int.from_bytes(digest, "little", signed=True))
    return frozenset(keys)


def _is_within(shorter: Sequence[str], longer: Sequence[str]) -> bool:
    """Whether a sequence is another one with some items left out."""
    rest = iter(longer)
    return all(item in rest for item in shorter)
