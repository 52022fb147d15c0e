"""Damaged and hostile files give documents or a reason, within the limits."""

import io
import zipfile

import pytest

from benchmarks.damaged import COMMON, GOOD, damaged_file, read
from index import archives
from index.documents import parse_documents
from index.errors import DocumentError
from tests.test_formats import FIRST, make_zip


@pytest.mark.parametrize("number", range(40))
def test_a_damaged_file_is_read_or_refused_with_a_reason(number: int):
    _, name, data = damaged_file(number, seed=1)
    read(name, data)


def test_the_damaged_files_are_of_all_kinds_and_the_undamaged_ones_are_read():
    assert {damaged_file(number, seed=1)[0] for number in range(40)} == {
        make.__name__ for make in COMMON
    }
    for suffix, data in GOOD.items():
        assert read(f"good{suffix}", data) == []


def reasons(data: bytes) -> dict[str, str]:
    return dict(parse_documents(data, name="a.zip").skipped)


def test_a_member_that_unpacks_to_far_more_than_it_is_is_not_unpacked():
    data = make_zip({"bomb.txt": b" " * 30_000_000, "a.txt": FIRST.encode()})
    assert reasons(data) == {"a.zip/bomb.txt": "it unpacks to more than 100 times its size"}


def test_an_archive_unpacks_to_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**20)
    data = make_zip({f"{n}.txt": FIRST.encode() * 9_000 for n in range(4)})
    skipped = reasons(data)
    assert list(skipped) == ["a.zip/1.txt", "a.zip/2.txt", "a.zip/3.txt"]
    assert set(skipped.values()) == {"the archive unpacks to more than 1 MiB"}


def test_an_archive_with_too_long_a_list_is_refused_before_it_is_read():
    with pytest.raises(DocumentError, match="more than 50,000 files"):
        parse_documents(b"PK\x01\x02" * 50_001, name="a.zip")


def test_encrypted_and_oddly_packed_members_say_so():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("odd.txt", "Words.")
    assert "packed in a way" in reasons(buffer.getvalue())["a.zip/odd.txt"]
    data = bytearray(make_zip({"locked.txt": b"Words."}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert reasons(bytes(data)) == {"a.zip/locked.txt": "it is encrypted"}
