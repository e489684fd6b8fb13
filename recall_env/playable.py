"""Whether a task can be played at all: said when an episode is begun, and by the trainer before a model is loaded."""

from collections.abc import Iterable

from recall_env.dialect import Dialect
from recall_env.errors import TaskError
from recall_env.schema import check_parameters, function_of
from recall_env.task import Task


def check_playable(task: Task, dialect: Dialect, *, gate: bool, services: Iterable[str] = ()) -> None:
    """Raise TaskError for a task that no reset in this dialect, with these services and this gate, would take."""
    for service in task.services:
        if service not in services:
            raise TaskError(
                f"task {task.id} needs the service {service!r}; say where it is: --service {service}=http://HOST:PORT "
                f"(recall-env), --env.services '[\"{service}=...\"]' (recall_train), services={{...}} (gym.make)"
            )
    dialect.template_tools(task)
    if gate:
        from recall_env.gate import findings  # RestrictedPython is not quick to import

        if found := findings(task.source):
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise TaskError(f"task {task.id}: its source does not pass the gate: {found[0]}{more}")
    if dialect.checks_arguments:
        for function in map(function_of, task.schemas):
            check_parameters(function["name"], function.get("parameters") or {})
