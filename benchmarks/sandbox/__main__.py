"""python -m benchmarks.sandbox [MEASURE...]: run measures, each in a process of its own, and hold them to their goals.

Writes benchmarks/results/sandbox.json and the plots in docs/images; a measure that was not chosen keeps the figures it
had there, with the commit they are of. The table on stdout has this run's measures. Exit 1 when one broke or missed.
"""

import dataclasses
import sys

from benchmarks.sandbox import plots
from benchmarks.sandbox.measures import MEASURES
from benchmarks.suite import Suite

SUITE = Suite("sandbox", "the sandbox", MEASURES, plots.PLOTS)


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    parser = SUITE.parser(
        "Measure the sandbox. Without a measure: all of them; a quarter of an hour on two cores.",
        "calls spawn --quick",
    )
    parser.add_argument("--calls", type=int, help="of the soak")
    parser.add_argument("--episodes", type=int, help="of the soak")
    arguments = parser.parse_args(words)
    sizes = SUITE.chosen(parser, arguments)
    if "soak" in sizes:
        given = {key: getattr(arguments, key) for key in ("calls", "episodes") if getattr(arguments, key)}
        sizes["soak"] = dataclasses.replace(sizes["soak"], **given)
    return SUITE.play(sizes, arguments, words)


if __name__ == "__main__":
    sys.exit(main())
