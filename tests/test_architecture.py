"""What the packages export and which way their imports point."""

import ast
import subprocess
import sys
from pathlib import Path

import index
import qa

ROOT = Path(__file__).parent.parent
PATH = {  # inside a package, a module imports only those before it
    "qa": ["reader", "chatbot", "page", "doctor", "cli"],
    "qa/reader": ["model", "bert", "spans", "search", "seq2seq", "reader"],
}
HEAVY = {
    "datasketch",
    "torch",
    "faiss",
    "gradio",
    "onnx",
    "onnxruntime",
    "transformers",
    "sentence_transformers",
    "trafilatura",
}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_index_knows_nothing_of_qa():
    for path in (ROOT / "index").glob("*.py"):
        assert not any(name.split(".")[0] in ("qa", "app") for name in imported(path)), path


def test_qa_knows_nothing_of_app_tests_or_training():
    for path in (ROOT / "qa").rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path)}
        assert tops.isdisjoint({"app", "tests", "training", "benchmarks"}), path


def test_modules_import_only_those_before_them():
    for package, order in PATH.items():
        prefix = package.replace("/", ".")
        for at, module in enumerate(order):
            base = ROOT / package / module
            files = base.glob("*.py") if base.is_dir() else [base.with_suffix(".py")]
            later = [f"{prefix}.{name}" for name in order[at + 1 :]]
            for path in files:
                wrong = {
                    n for n in imported(path) if any(f"{n}.".startswith(f"{x}.") for x in later)
                }
                assert not wrong, f"{path} imports {wrong}"


def test_public_names():
    assert qa.__all__ == ["Answer", "Chatbot", "Citation", "Conversation", "Reader", "Reading"]
    assert all(hasattr(qa, name) for name in qa.__all__)
    assert {"PassageIndex", "ReadbackError"} <= set(index.__all__)
    assert all(hasattr(index, name) for name in index.__all__)


def test_importing_loads_nothing_heavy():
    code = "import sys, qa, index; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert HEAVY.isdisjoint(done.stdout.split())
