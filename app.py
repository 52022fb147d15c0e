"""Serves the chat page: python app.py [FOLDER] [--port N]."""

import argparse
import sys
from pathlib import Path

from index.errors import ReadbackError
from qa.cli import ERROR, printable
from qa.page import serve

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = (
    "What did Scholz say about supply chains?",
    "Why did Gazprom stop gas deliveries to Poland and Bulgaria?",
    "Which ports does the grain deal cover?",
    "What does Erdogan accuse Sweden and Finland of?",
    "What did Habeck call the return to coal?",
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the chat page of readback.")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=CORPUS, help="the documents (default: corpus)"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    arguments = parser.parse_args()
    sample = arguments.folder.resolve() == CORPUS.resolve()
    try:
        serve(arguments.folder, port=arguments.port, examples=EXAMPLES if sample else ())
    except ReadbackError as error:
        print(f"readback: {printable(str(error))}", file=sys.stderr)
        return ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
