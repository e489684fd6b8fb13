"""Where tools run and what stops them: sessions in jails (JailPool) or, only by name, without one (UnsafePool).

Names are imported when first used, so that `import recall_env` starts nothing and reads little.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recall_env.sandbox.doctor import diagnose, doctor_report
    from recall_env.sandbox.limits import Limits
    from recall_env.sandbox.pool import JailPool, shared_pool
    from recall_env.sandbox.session import Pool, Session
    from recall_env.sandbox.unsafe import UnsafePool

__all__ = [
    "JailPool",
    "Limits",
    "Pool",
    "Session",
    "UnsafePool",
    "diagnose",
    "doctor_report",
    "shared_pool",
]

_HOMES = {
    "JailPool": "pool",
    "Limits": "limits",
    "Pool": "session",
    "Session": "session",
    "UnsafePool": "unsafe",
    "diagnose": "doctor",
    "doctor_report": "doctor",
    "shared_pool": "pool",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
