"""python -m benchmarks.envs [MEASURE...]: what a step of an environment costs, held to its goals.

Writes benchmarks/results/envs.json and the plots in docs/images; a measure that was not chosen keeps the figures it had
there, with the commit they are of. The table on stdout has this run's measures. Exit 1 when one broke or missed. The
first run of `steps` installs the libraries it compares with, from PyPI, into build/env-peers.
"""

import sys

from benchmarks.envs import memory, plots, steps, tail
from benchmarks.suite import Suite

SUITE = Suite("envs", "environments", {"steps": steps, "tail": tail, "memory": memory}, plots.PLOTS)


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    parser = SUITE.parser(
        "Measure environments. Without a measure: all of them; some eight minutes on two cores.", "steps --quick"
    )
    arguments = parser.parse_args(words)
    return SUITE.play(SUITE.chosen(parser, arguments), arguments, words)


if __name__ == "__main__":
    sys.exit(main())
