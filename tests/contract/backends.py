"""The backends that the contract of sessions is held against: jailed in two ways, and unjailed."""

import os

from recall_env.sandbox import JailPool, Limits, UnsafePool
from recall_env.sandbox.jail import LADDER

LIMITS = Limits(call_timeout_s=0.5, load_timeout_s=5.0)
LANDLOCK = next(rung for rung in LADDER if rung.root == (os.geteuid() == 0) and not rung.namespaces)
BACKENDS = {
    "nsjail": JailPool,
    "landlock": lambda limits: JailPool(limits=limits, rung=LANDLOCK),
    "unsafe": UnsafePool,
}
