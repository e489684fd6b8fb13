"""ToolEnv: an environment as one class. Its methods marked `@tool` are the tools, its file's JSON Lines the tasks.

The class is read on the host for its schemas and its rubric; what runs is its source, in the jail (tool_source.py).
Not here: what a hint means (hints.py), ids and installed packages (packages.py).
"""

import inspect
import json
import linecache
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from recall_env.errors import EnvError, TaskError
from recall_env.hints import HintError, Hints
from recall_env.nearest import did_you_mean, listed
from recall_env.task import EXTRA_INFO_KEYS, Row, Task
from recall_env.taskset import TaskSet, files_of_split
from recall_env.tool_schema import Signature, read_signature
from recall_env.tool_source import HOOKS, SourceError, Tools, jail_source, record_name, top_level_names

if TYPE_CHECKING:
    from recall_env.rubric import Rubric

__all__ = ["ToolEnv", "has_splits", "tool"]

_MARK = "_recall_env_tool"
_LINE_KEYS = ("question", "ground_truth", *(key for key in EXTRA_INFO_KEYS if key not in ("env", "func_schemas")))


def tool[Function: Callable[..., Any]](function: Function) -> Function:
    """Mark a method of a ToolEnv as a tool. Hints and docstring become its schema; it runs in the jail."""
    if isinstance(function, staticmethod | classmethod) or not inspect.isfunction(inspect.unwrap(function)):
        raise EnvError(f"@tool stands before a plain method, not before {function!r}")
    setattr(function, _MARK, True)
    return function


class ToolEnv:
    """Subclass it, with an id to register it: `class Weather(ToolEnv, id="Contrib/Weather-v0")`.

    tasks: a file of JSON Lines beside the class's own, a folder of such files (one a split), or the lines themselves
    as dicts. A line has `question` and `ground_truth`, and may have what a row's extra_info may: `state`, `solution`.
    rubric: a name in `recall_env.rubric.RUBRICS`, or a Rubric.
    source, schemas: what a row holds; made when the class is defined.

    `setup(self, state)`, where there is one, is called at the start of each episode with the state of its task, and
    `final_state(self)` at its end, where the rubric compares that (StateEquals); the model sees neither. In the jail
    there is no ToolEnv: `self` is a plain object, without tasks and rubric.

    Defining a subclass raises EnvError, one line with file and place, for what cannot be made into tools.
    """

    id: ClassVar[str | None] = None
    tasks: ClassVar["str | Sequence[Mapping[str, Any] | Task]"] = ()
    rubric: ClassVar["str | Rubric"] = "answer"
    source: ClassVar[str]
    schemas: ClassVar[tuple[dict[str, Any], ...]]
    _folder: ClassVar[Path]

    def __init_subclass__(cls, id: str | None = None) -> None:
        super().__init_subclass__()
        cls.id = id
        if "source" not in cls.__dict__:
            names = [name for name in _members(cls) if hasattr(getattr(cls, name), _MARK)]
            if names:
                _read_class(cls, names)
            elif id is not None:
                raise EnvError(f"class {cls.__name__} has no tools; mark methods with @tool")
        if id is not None:
            from recall_env.packages import register_class

            register_class(cls)

    @classmethod
    def task_set(cls, split: str | None = None) -> TaskSet:
        """Its tasks, read now. Raises TaskError for a line that cannot be used: file, line, key, reason."""
        if "source" not in dir(cls):
            raise EnvError(f"class {cls.__name__} has no tools; mark methods with @tool")
        importable = "<locals>" not in cls.__qualname__ and cls.__module__ != __name__
        dataset = f"{cls.__module__}:{cls.__qualname__}" if importable else None
        return TaskSet([_task(cls, *line) for line in _lines(cls, split)], cls.__name__, dataset=dataset, split=split)

    @classmethod
    def to_rows(cls, split: str | None = None) -> list[Row]:
        """Its tasks as rows of ReCall's Parquet: all that is needed to play them, the rubric excepted."""
        return [task.to_row() for task in cls.task_set(split)]

    @staticmethod
    def from_rows(rows: Sequence[Row], rubric: "str | Rubric" = "answer") -> "type[ToolEnv]":
        """A class of what rows hold, which must share their tools: source, schemas and tasks are the rows' own.

        Its `to_rows` gives the rows back. A rubric is not part of a row. Raises TaskError.
        """
        tasks = [Task.from_row(row, f"rows[{number}]") for number, row in enumerate(rows)]
        if not tasks:
            raise TaskError("rows: expected at least one")
        for number, task in enumerate(tasks):
            if (task.source, task.schemas) != (tasks[0].source, tasks[0].schemas):
                raise TaskError(f"rows[{number}]: other tools than rows[0]; a class has one set of them")
        members = {"source": tasks[0].source, "schemas": tasks[0].schemas, "tasks": tuple(tasks), "rubric": rubric}
        return type("RowEnv", (ToolEnv,), members)

    @staticmethod
    def from_row(row: Row, rubric: "str | Rubric" = "answer") -> "type[ToolEnv]":
        """`from_rows` of one row."""
        return ToolEnv.from_rows([row], rubric)


def has_splits(env: type[ToolEnv]) -> bool:
    """Whether its tasks lie in a folder, a file for each split; else every split is all of them."""
    return isinstance(env.tasks, str) and (env._folder / env.tasks).is_dir()


_RESERVED = frozenset(name for name in vars(ToolEnv) if not name.startswith("_")) | {"source", "schemas", *HOOKS}


def _members(cls: type) -> dict[str, None]:
    """Names of its attributes in the order of their definition, a base's before its own."""
    return {name: None for part in reversed(cls.__mro__) if part is not object for name in vars(part)}


def _read_class(cls: type[ToolEnv], names: list[str]) -> None:
    """Fill in `source` and `schemas`."""
    functions = {name: inspect.unwrap(getattr(cls, name)) for name in names}
    own = [name for name in names if functions[name].__module__ == cls.__module__]
    code = functions[own[0] if own else names[0]].__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename))
    place = f"{Path(code.co_filename).name}: class {cls.__name__}"
    if not text:
        raise EnvError(f"{place}: its source cannot be read; put the class into a file")
    if "<locals>" in cls.__qualname__ or "." in cls.__qualname__:
        raise EnvError(f"{place}: define it at the top level of its file, not inside of {cls.__qualname__}")
    if any(parameter.default is parameter.empty for parameter in _given_to_init(cls)):
        raise EnvError(f"{place}: its __init__ is called without arguments; let setup(self, state) take what differs")
    hosts = [part for part in cls.__mro__ if issubclass(part, ToolEnv) and part is not ToolEnv]
    for part in hosts:
        if part.__module__ != cls.__module__:
            raise EnvError(f"{place}: its base {part.__name__} is in another file; the jail gets this one alone")
    taken, record_names = top_level_names(text), {}

    def name_of(record: type) -> str:
        if record not in record_names:
            record_names[record] = record_name(record, {*taken, *record_names.values()})
        return record_names[record]

    hints = Hints(cls.__module__, name_of)
    signatures = []
    for name in names:
        try:
            signatures.append(_signature(cls, name, functions[name], hints))
        except HintError as error:
            raise EnvError(f"{place}: tool {name!r}: {error}") from error
    tools = Tools(
        class_name=cls.__name__,
        host_classes=frozenset(part.__name__ for part in hosts),
        signatures=tuple(signatures),
        records=hints.records,
        record_names=record_names,
        hooks=_hooks(cls, place),
    )
    try:
        cls.source = jail_source(text, tools)
    except SourceError as error:
        raise EnvError(f"{Path(code.co_filename).name} line {error.line}: class {cls.__name__}: {error}") from error
    cls.schemas = tuple(signature.schema for signature in signatures)
    cls._folder = Path(code.co_filename).parent


def _signature(cls: type, name: str, function: Callable[..., Any], hints: Hints) -> Signature:
    if name in _RESERVED or name.startswith("_"):
        raise HintError("ToolEnv has a member of that name; give the tool another one")
    if isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod):
        raise HintError("a tool is a plain method, with self")
    return read_signature(name, function, hints, dict(vars(cls)))


def _given_to_init(cls: type) -> list[inspect.Parameter]:
    parameters = inspect.signature(cls).parameters.values()
    return [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def _hooks(cls: type, place: str) -> dict[str, str]:
    hooks = {}
    for name, argument in HOOKS.items():
        if hasattr(cls, name):
            method = getattr(cls, name)
            expected = ["self", argument] if argument else ["self"]
            if len(inspect.signature(method).parameters) != len(expected):
                raise EnvError(f"{place}: expected `def {name}({', '.join(expected)})`")
            hooks[name] = "async def" if inspect.iscoroutinefunction(method) else "def"
    return hooks


def _lines(cls: type[ToolEnv], split: str | None) -> list[tuple[Any, int, str]]:
    """(line, its number from 1, where it stands), of the file, the folder's files of the split, or the class."""
    if not isinstance(cls.tasks, str):
        return [(line, number, f"{cls.__name__}.tasks[{number - 1}]") for number, line in enumerate(cls.tasks, 1)]
    path = cls._folder / cls.tasks
    if path.is_dir():
        files = files_of_split(sorted(path.glob("*.jsonl")), split, cls.tasks)
    elif path.is_file():
        files = [path]
    else:
        raise TaskError(f"class {cls.__name__}: there is no {cls.tasks} beside its file")
    found: list[tuple[Any, int, str]] = []
    for file in files:
        for number, text in enumerate(file.read_text("utf-8").splitlines(), 1):
            if text.strip():
                found.append(
                    (_parsed(text, f"{file.name} line {number}"), len(found) + 1, f"{file.name} line {number}")
                )
    return found


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{where}: not JSON ({error})") from error


def _task(cls: type[ToolEnv], line: Any, number: int, where: str) -> Task:
    if isinstance(line, Task):
        return line
    if not isinstance(line, Mapping):
        raise TaskError(f"{where}: expected an object with question and ground_truth, got {type(line).__name__}")
    for key in line:
        if key not in _LINE_KEYS:
            raise TaskError(
                f"{where}: no key {key!r}{did_you_mean(key, _LINE_KEYS)}; there are {listed(_LINE_KEYS, 20)}"
            )
    info = {key: value for key, value in line.items() if key not in ("question", "ground_truth")}
    info.setdefault("id", f"{cls.__name__.lower()}-{number}")
    row = {
        "data_source": "syntool_re_call",
        "question": line.get("question"),
        "ability": "re_call",
        "reward_model": {"style": "rule", "ground_truth": line.get("ground_truth")},
        "extra_info": {**info, "env": cls.source, "func_schemas": list(cls.schemas)},
    }
    return Task.from_row(row, where)
