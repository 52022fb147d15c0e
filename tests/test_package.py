"""The distribution: light to import, layered one way, and whole when installed as a wheel."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import index
import qa

ROOT = Path(__file__).parent.parent
HEAVY = set(
    "datasketch faiss gradio onnx onnxruntime sentence_transformers torch trafilatura "
    "transformers".split()
)

FOR_OTHERS = {"lxml-html-clean"}  # dependencies that only a dependency imports
OURS = {"index", "qa"}
MODULES = [file for top in sorted(OURS) for file in sorted((ROOT / top).rglob("*.py"))]

# Each module imports only those before it.
ORDER = [
    "index.errors",
    "index.head",
    "index.formats",
    "index.worker",
    "index.archives",
    "index.documents",
    "index.passages",
    "index.duplicates",
    "index.bert",
    "index.embedder",
    "index.vectors",
    "index.generations",
    "index.catalog",
    "index.ranking",
    "index.sync",
    "index.checks",
    "index.rebuild",
    "index.passage_index",
    "index",
    "qa.reader.model",
    "qa.reader.bert",
    "qa.reader.spans",
    "qa.reader.rewriting",
    "qa.reader.search",
    "qa.reader.agreement",
    "qa.reader.seq2seq",
    "qa.reader.reader",
    "qa.reader",
    "qa.chatbot",
    "qa",
    "qa.doctor",
    "qa.page.render",
    "qa.page.chat",
    "qa.page.server",
    "qa.page",
    "qa.cli",
    "qa.__main__",
]


def run(*command: str | Path, cwd: Path) -> str:
    """What the command prints; it must succeed. No module path of ours is handed on to it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["qa", "index"])
def test_importing_loads_nothing_heavy(package: str) -> None:
    code = f"import {package}, sys; print(*sys.modules)"
    loaded = run(sys.executable, "-c", code, cwd=ROOT).split()
    assert package in loaded
    assert not HEAVY & set(loaded)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, qa.cli\ntry: qa.cli.main(['--help'])\nfinally: print(*sys.modules)"
    assert not HEAVY & set(run(sys.executable, "-c", code, cwd=ROOT).split())


def test_a_bad_question_is_refused_before_anything_heavy_loads() -> None:
    code = "import sys, qa.cli\nprint(qa.cli.main(['ask', ' ']), *sys.modules)"
    status, *loaded = run(sys.executable, "-c", code, cwd=ROOT).split()
    assert status == "2"
    assert not HEAVY & set(loaded)


def test_an_answer_needs_neither_sentence_transformers_nor_scikit_learn() -> None:
    code = "import sys, index, qa; index.load_embedder(); qa.Reader.load(); print(*sys.modules)"
    loaded = run(sys.executable, "-c", code, cwd=ROOT).split()
    assert {"transformers", "qa.reader.model"} <= set(loaded)
    assert not {"sentence_transformers", "sklearn"} & set(loaded)


def test_public_names() -> None:
    assert qa.__all__ == ["Answer", "Chatbot", "Citation", "Conversation", "Reader", "Reading"]
    assert all(hasattr(qa, name) for name in qa.__all__)
    assert {"PassageIndex", "ReadbackError"} <= set(index.__all__)
    assert all(hasattr(index, name) for name in index.__all__)


def place(module: str) -> int:
    """Where a module stands in ORDER."""
    assert module in ORDER, f"{module}: give it its place in ORDER"
    return ORDER.index(module)


def imported(file: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write the import out in full"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= members & set(ORDER) or {str(node.module)}
    return names


def test_modules_import_only_those_before_them() -> None:
    for file in MODULES:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in imported(file):
            if name.split(".")[0] in OURS:
                assert place(name) <= place(module), f"{module} imports {name}"


def test_what_is_imported_is_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked_for = {re.split("[<>=]", requirement)[0] for requirement in project["dependencies"]}
    tops = {name.split(".")[0] for file in MODULES for name in imported(file)}
    distributions = packages_distributions()
    needed = {distributions[top][0] for top in tops - sys.stdlib_module_names - OURS}
    assert {canonical(name) for name in needed} == asked_for - FOR_OTHERS


def canonical(distribution: str) -> str:
    return re.sub("[-_.]+", "-", distribution).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that it leaves nothing in the checkout and takes nothing stale."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "app.py"):
        shutil.copy(ROOT / name, source)
    for name in ("qa", "index", "corpus", "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", source / "dist", ".", cwd=source)
    [built] = (source / "dist").glob("readback-*.whl")
    return built


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = [ROOT / "qa", ROOT / "index"]
    kept = [file for top in packages for file in top.rglob("*") if file.is_file()]
    assert held == {
        file.relative_to(ROOT).as_posix() for file in kept if "__pycache__" not in file.parts
    }
    assert {"qa/py.typed", "index/py.typed", "qa/reader/weights/model.safetensors"} <= held


def test_the_wheel_answers_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment")
    python = tmp_path / "environment" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    run(*pip, "--no-index", wheel, cwd=tmp_path)
    # It borrows our libraries. A folder named in a .pth file is searched, but the .pth files in
    # that folder, an editable install of this checkout among them, are not followed.
    [site] = tmp_path.glob("environment/lib/python*/site-packages")
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("\n".join(sorted(libraries)))
    origins = run(
        python, "-c", "import index, qa; print(index.__file__, qa.__file__)", cwd=tmp_path
    )
    assert all(Path(file).is_relative_to(site) for file in origins.split())

    shutil.copytree(ROOT / "corpus", tmp_path / "papers", ignore=shutil.ignore_patterns(".*"))
    question = "What did Scholz say about supply chains?"
    readback = tmp_path / "environment" / "bin" / "readback"
    found = json.loads(run(readback, "ask", question, "--json", cwd=tmp_path / "papers"))
    assert "supply chain" in found["text"]
    assert (tmp_path / "papers" / found["citations"][0]["document"]).is_file()
