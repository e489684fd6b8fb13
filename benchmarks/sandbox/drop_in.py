"""`recall-env serve` beside ReCall's server: the same clients, the same call, one core each for server and client."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.sandbox import clients
from benchmarks.sandbox.cores import FIRST, LAST, on
from benchmarks.sandbox.driver import Driven, median_round
from benchmarks.sandbox.figures import Claim, Measured
from benchmarks.sandbox.report import say
from benchmarks.sandbox.servers import recall_env_serve, recall_server, serve_is_there

GOAL = 2.5  # times ReCall's server, by clients that are not the limit themselves
CLIENTS: dict[str, tuple[Callable[[int, float], Driven], float | None]] = {
    "8 bare sockets": (lambda port, duration_s: clients.bare(port, 8, duration_s), GOAL),
    "8 keep-alive": (lambda port, duration_s: clients.load(clients.keep_alive, port, 8, duration_s), GOAL),
    "1 keep-alive": (lambda port, duration_s: clients.load(clients.keep_alive, port, 1, duration_s), None),
    "8 x requests.post": (lambda port, duration_s: clients.load(clients.post, port, 8, duration_s), None),
}


@dataclass(frozen=True)
class Size:
    duration_s: float = 4.0  # of a round of each client
    rounds: int = 3  # the median one counts
    warm_s: float = 1.0


QUICK = Size(duration_s=0.5, warm_s=0.3)


def measure(size: Size) -> Measured:
    measured = Measured()
    theirs = _rates("ReCall's server", recall_server, size, measured)
    ours: dict[str, float] = {}
    if serve_is_there():
        ours = _rates("recall-env serve", recall_env_serve, size, measured)
    else:
        measured.notes.append("recall-env serve is not there")
        say("http", measured.notes[-1])
    for name, (_, goal) in CLIENTS.items():
        measured.claims.append(
            Claim(f"recall-env serve, {name}", ours.get(name), "calls/s", theirs[name], "ReCall's server",
                  "at least", goal, "ratio")
        )  # fmt: skip
    return measured


def _rates(server: str, start, size: Size, measured: Measured) -> dict[str, float]:
    rates = {}
    with start(FIRST) as port, on(LAST):
        for name, (client, _) in CLIENTS.items():
            client(port, size.warm_s)
            driven = median_round(size.rounds, partial(client, port, size.duration_s))
            rates[name] = measured.add(f"{server}, {name}", driven.rate, "calls/s")
            measured.add(f"{server}, {name}, p50", driven.ms(50), "ms")
            measured.add(f"{server}, {name}, p99", driven.ms(99), "ms")
            say("http", f"{server}, {name}: {driven.rate:,.0f} calls/s, p50 {driven.ms(50):.2f} ms")
    return rates
