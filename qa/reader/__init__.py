"""The reader: a local seq2seq model that answers with a span of the passages."""

from qa.reader.reader import Reader, Reading

__all__ = ["Reader", "Reading"]
