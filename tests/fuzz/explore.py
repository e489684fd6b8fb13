"""python tests/fuzz/explore.py TARGET [SECONDS]: look for inputs that break a target, led by coverage (atheris).

Begins with tests/fuzz/corpus/TARGET and adds what it finds there; libFuzzer's -merge keeps the corpus small. A crash
is written beside it as crash-*, and the exit code is not 0. Needs `pip install -e '.[fuzz]'`.
"""

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
with atheris.instrument_imports(include=["recall_env"]):
    from targets import TARGETS


def main() -> None:
    name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    corpus = HERE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={corpus}/", "-timeout=10"]
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
