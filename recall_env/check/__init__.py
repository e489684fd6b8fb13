"""The proof, without a model, that an environment is sound. `recall-env check`; docs/check.md.

checks.py has the table of checks, run.py plays them over many tasks; the command is recall_env/commands/check.py.
Names are imported when first used: the parts are also read one by one, by `envs_synthetic.verify` and by worker
processes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recall_env.check.bench import Settings
    from recall_env.check.checks import CHECKS, Check, Finding, Status, chosen
    from recall_env.check.run import Report, Verdict, check, check_task
    from recall_env.check.targets import tasks_of

__all__ = [
    "CHECKS",
    "Check",
    "Finding",
    "Report",
    "Settings",
    "Status",
    "Verdict",
    "check",
    "check_task",
    "chosen",
    "tasks_of",
]

_HOMES = {
    "CHECKS": "checks",
    "Check": "checks",
    "Finding": "checks",
    "Report": "run",
    "Settings": "bench",
    "Status": "checks",
    "Verdict": "run",
    "check": "run",
    "check_task": "run",
    "chosen": "checks",
    "tasks_of": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
