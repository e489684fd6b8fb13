"""TaskSet: a sequence of Tasks over Parquet, JSON Lines, a folder of both, or a built-in name; read when asked for.

Parquet is memory-mapped and decoded one row group at a time; of JSON Lines only the offsets of the lines are kept.
pyarrow is imported when the first Parquet file is opened. A file is opened for a read and closed after it, so a
TaskSet holds no descriptor and goes through fork and pickle.
"""

import bisect
import importlib.util
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, overload

from recall_env.entry_points import points_of
from recall_env.errors import TaskError
from recall_env.nearest import did_you_mean, listed
from recall_env.task import Row, Task

if TYPE_CHECKING:
    from recall_env.tools import ToolEnv

__all__ = ["TaskSet", "built_in_names"]

ENTRY_POINT_GROUP = "recall_env.datasets"  # name -> a package that holds <name>-<split>.parquet

_SHARD = re.compile(r"-\d+-of-\d+$")


class Source(Protocol):
    """Tasks behind a TaskSet, by position. Thread-safe."""

    def __len__(self) -> int: ...

    def task(self, row: int) -> Task: ...

    def column(self, key: str) -> list[Any]:
        """extra_info[key] of every row, None where absent, read without building Tasks where that is cheaper."""


class TaskSet(Sequence[Task]):
    """Tasks in a fixed order. Building one reads no row; indexing reads one, and raises TaskError if it is bad."""

    def __init__(
        self,
        tasks: Iterable[Task] | Sequence[Source],
        name: str = "tasks",
        *,
        dataset: str | None = None,
        split: str | None = None,
    ):
        """tasks: Tasks, or the sources `load` found. dataset and split: what `load` was asked for, if it was."""
        tasks = list(tasks)
        self.name, self.dataset, self.split = name, dataset, split
        self._sources: list[Source] = [_Memory(tasks)] if not tasks or isinstance(tasks[0], Task) else tasks
        self._starts = [0, *itertools.accumulate(len(source) for source in self._sources)]
        self._chosen: range | list[int] = range(self._starts[-1])
        self._ids: tuple[str, ...] | None = None
        self._rows_by_id: dict[str, int] | None = None

    @staticmethod
    def load(dataset: str | Path, split: str | None = None) -> "TaskSet":
        """Open a .parquet or .jsonl file, a folder of them, or a set that an installed package ships under a name.

        An environment of a class (tools.py) is a set too: its id, or "module:Class".
        split picks the files named `<split>.*` or `<anything>-<split>.*` (shards `-00000-of-00002` included); None
        takes all. A single file is its own split. Raises TaskError: what exists, and the nearest name.
        """
        path = Path(dataset)
        if not path.exists() and (env := _contributed(str(dataset))) is not None:
            return env.task_set(split)
        if path.is_file():
            return TaskSet([_open(path)], path.name, dataset=str(dataset), split=split)
        if path.is_dir():
            files, name = _data_files(path), str(dataset)
        elif path.suffix in _OPENERS or path.name != str(dataset):
            raise TaskError(f"no file or folder {str(dataset)!r}")
        else:
            name = str(dataset)
            files = _built_in(name)
        if not files:
            raise TaskError(f"{name} holds no .parquet or .jsonl file")
        files = files_of_split(files, split, name)
        return TaskSet([_open(file) for file in files], name, dataset=str(dataset), split=split)

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> "TaskSet": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._subset(self._chosen[index])
        try:
            row = self._chosen[index]
        except IndexError:
            raise IndexError(f"{self.name} has {len(self)} tasks; there is no index {index}") from None
        number = bisect.bisect_right(self._starts, row) - 1
        return self._sources[number].task(row - self._starts[number])

    def __iter__(self) -> Iterator[Task]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"TaskSet({self.name!r}, {len(self)} tasks)"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order, read without the rest of the rows."""
        if self._ids is None:
            found = self._column("id")
            # A row without an id is named by its content, which only the Task knows.
            self._ids = tuple(id if isinstance(id, str) and id else self[at].id for at, id in enumerate(found))
        return self._ids

    def by_id(self, id: str) -> Task:
        """The task of that id, the first one when several rows share it. Raises TaskError with the nearest id."""
        if self._rows_by_id is None:
            self._rows_by_id = {id: at for at, id in reversed(list(enumerate(self.ids)))}
        at = self._rows_by_id.get(id)
        if at is None:
            raise TaskError(f"{self.name} has no task {id!r}{did_you_mean(id, self.ids)}")
        return self[at]

    def select(self, families: Iterable[str] | None = None, max_calls: int | None = None) -> "TaskSet":
        """The tasks of these families, without those that need more than max_calls calls.

        A task that does not say what it needs is kept: ReCall's own rows have no gold solution.

        Raises TaskError for a family that no task has.
        """
        keep = list(range(len(self)))
        if families is not None:
            families, column = set(families), self._column("family")
            known = sorted({family for family in column if family is not None})
            for family in sorted(families - set(known)):
                hint = did_you_mean(family, known) or "."
                raise TaskError(f"{self.name} has no family {family!r}{hint} It has {listed(known)}")
            keep = [at for at in keep if column[at] in families]
        if max_calls is not None:
            column = self._column("n_calls")
            needed = {at: self[at].calls_needed if column[at] is None else column[at] for at in keep}
            keep = [at for at in keep if needed[at] is None or needed[at] <= max_calls]
        return self._subset([self._chosen[at] for at in keep])

    def spread(self, n: int) -> "TaskSet":
        """n tasks, evenly spaced over the set: files are often sorted. All of them when there are fewer."""
        n = min(n, len(self))
        return self._subset([self._chosen[at * len(self) // n] for at in range(n)])

    def _column(self, key: str) -> list[Any]:
        whole = list(itertools.chain.from_iterable(source.column(key) for source in self._sources))
        return [whole[row] for row in self._chosen]

    def _subset(self, rows: range | list[int]) -> "TaskSet":
        subset = TaskSet(self._sources, self.name, dataset=self.dataset, split=self.split)
        subset._chosen = rows
        return subset


class _Memory:
    def __init__(self, tasks: list[Task]):
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def task(self, row: int) -> Task:
        return self.tasks[row]

    def column(self, key: str) -> list[Any]:
        return [getattr(task, key) for task in self.tasks]


class _Jsonl:
    """Offsets of the lines; blank lines are no rows, but count in the line numbers of errors."""

    def __init__(self, path: Path):
        self.path = path
        self.lines: list[tuple[int, int]] = []  # (offset, line number from 1)
        offset = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    self.lines.append((offset, number))
                offset += len(line)

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, lines: list[tuple[int, int]]) -> Iterator[Row]:
        with self.path.open("rb") as file:
            for offset, number in lines:
                file.seek(offset)
                try:
                    yield json.loads(file.readline())
                except (ValueError, RecursionError) as e:
                    raise TaskError(f"{self.path.name} line {number}: not JSON ({e})") from e

    def task(self, row: int) -> Task:
        (fields,) = self.rows([self.lines[row]])
        return Task.from_row(fields, f"{self.path.name} line {self.lines[row][1]}")

    def column(self, key: str) -> list[Any]:
        infos = (row.get("extra_info") if isinstance(row, dict) else None for row in self.rows(self.lines))
        return [info.get(key) if isinstance(info, dict) else None for info in infos]


class _Parquet:
    """One row group decoded at a time, the last one kept."""

    def __init__(self, path: Path):
        self.path = path
        metadata = self._read(lambda file: file.metadata)
        counts = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self.starts = [0, *itertools.accumulate(counts)]
        self.columns = {metadata.schema.column(index).path for index in range(metadata.num_columns)}
        self.lock = threading.Lock()
        self.group: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return self.starts[-1]

    def task(self, row: int) -> Task:
        group = bisect.bisect_right(self.starts, row) - 1
        with self.lock:
            if self.group is None or self.group[0] != group:
                self.group = (group, self._read(lambda file: file.read_row_group(group)))
            table = self.group[1]
        (fields,) = table.slice(row - self.starts[group], 1).to_pylist()
        return Task.from_row(fields, f"{self.path.name} row {row}")

    def column(self, key: str) -> list[Any]:
        if f"extra_info.{key}" not in self.columns:
            return [None] * len(self)
        table = self._read(lambda file: file.read(columns=[f"extra_info.{key}"]))
        return [None if info is None else info[key] for info in table.column("extra_info").to_pylist()]

    def _read(self, read: Callable[[Any], Any]) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self.path, memory_map=True) as file:
                return read(file)
        except (pyarrow.ArrowException, OSError) as e:
            reason = (str(e).splitlines() or [type(e).__name__])[0]
            raise TaskError(f"{self.path.name}: not a readable Parquet file ({reason})") from e

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])


_OPENERS: dict[str, Callable[[Path], Source]] = {".parquet": _Parquet, ".jsonl": _Jsonl}


def _open(path: Path) -> Source:
    if path.suffix not in _OPENERS:
        raise TaskError(f"{path.name}: expected a .parquet or .jsonl file")
    return _OPENERS[path.suffix](path)


def _data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _OPENERS)


def files_of_split(files: list[Path], split: str | None, name: str) -> list[Path]:
    """Those of one split, all for None. Raises TaskError with the nearest split; name: what the error calls the set."""
    if split is None:
        return files
    splits = sorted({_split_of(file) for file in files})
    found = [file for file in files if _split_of(file) == split]
    if not found:
        raise TaskError(f"{name} has no split {split!r}{did_you_mean(split, splits) or '.'} It has {listed(splits)}")
    return found


def _split_of(path: Path) -> str:
    return _SHARD.sub("", path.stem).rsplit("-", 1)[-1]


def _contributed(name: str) -> "type[ToolEnv] | None":
    from recall_env.packages import class_of, reference_of  # which import this module

    reference = reference_of(name)
    return None if reference is None else class_of(reference)


def built_in_names() -> list[str]:
    """Names that installed packages offer data under."""
    return sorted({point.name for point in points_of(ENTRY_POINT_GROUP) if point.fault is None})


def _built_in(name: str) -> list[Path]:
    points = [point for point in points_of(ENTRY_POINT_GROUP) if point.name == name]
    if not points:
        names = built_in_names()
        hint = did_you_mean(name, names) or f"; built in: {listed(names)}"
        raise TaskError(f"no dataset {name!r}{hint}")
    spec = importlib.util.find_spec(points[0].value)
    if spec is None or not spec.submodule_search_locations:
        raise TaskError(f"dataset {name!r}: the package {points[0].value} that should hold it is not installed")
    folders = map(Path, spec.submodule_search_locations)
    files = [file for folder in folders for file in _data_files(folder)]
    return [file for file in files if file.stem.startswith(f"{name}-")]
