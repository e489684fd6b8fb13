"""Contributed environments: classes by "module:Class", and the installed packages that offer them.

A package offers them in the entry-point group `recall_env.envs`, `"Contrib/Weather-v0" = "weather_env:Weather"`: the
name is the environment's id, so that ids are known from metadata alone. A package is imported when one of its
environments is made, and one that is broken is named then; it is in nobody's way before.
"""

import importlib
import re
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import registry

from recall_env.entry_points import points_of
from recall_env.errors import EnvError, RecallError
from recall_env.nearest import listed
from recall_env.registry import ENTRY_POINT, contribute

if TYPE_CHECKING:
    from recall_env.rubric import Rubric
    from recall_env.taskset import TaskSet
    from recall_env.tools import ToolEnv

GROUP = "recall_env.envs"

_ID = re.compile(r"[\w.-]+/[\w.-]+-v\d+")
_REFERENCE = re.compile(r"([A-Za-z_][\w.]*):([\w.]+|[\w.-]+/[\w.-]+)")


@dataclass(frozen=True)
class Offer:
    """An environment that an installed package offers. fault: why it cannot be registered."""

    id: str
    reference: str  # "module:Class", or "module:ID" where the package names only a module
    package: str
    version: str
    fault: str | None = None


def installed() -> list[Offer]:
    """What installed packages offer, by package and id, from metadata: nothing is imported."""
    offers: dict[str, Offer] = {}
    for point in points_of(GROUP):
        fault = point.fault or _wrong_id(point.name) or _wrong_value(point.value)
        offer = Offer(point.name, _reference(point.name, point.value), point.package, point.version, fault)
        first = offers.setdefault(offer.id, offer)
        if first.package != offer.package:
            also = fault or f"package {first.package} has {offer.id} already"
            offers[f"{offer.id} {offer.package}"] = replace(offer, fault=also)
    return sorted(offers.values(), key=lambda offer: (offer.package, offer.id))


def register_installed() -> None:
    """Make every offered id known to Gymnasium. Done when recall_env is imported."""
    for offer in installed():
        if offer.fault is None and offer.id not in registry:
            contribute(offer.id, offer.reference)


def register_class(env: "type[ToolEnv]") -> None:
    """Make a class known under its id, in the place of what had it before. Raises EnvError for an id that is none."""
    if wrong := _wrong_id(env.id):
        raise EnvError(f"class {env.__name__}: {wrong}")
    contribute(env.id, f"{env.__module__}:{env.__qualname__}")


def reference_of(name: str) -> str | None:
    """The "module:Class" behind the id of a contributed environment; what is one already; None for anything else."""
    if _REFERENCE.fullmatch(name):
        return name
    spec = registry.get(name)
    if spec is None or spec.entry_point != ENTRY_POINT or "task_id" in spec.kwargs:
        return None
    dataset = spec.kwargs.get("dataset", "")
    return dataset if _REFERENCE.fullmatch(dataset) else None


def class_of(reference: str) -> "type[ToolEnv]":
    """Import it. Raises RecallError that names the package, where an installed one offers it, and what went wrong."""
    from recall_env.tools import ToolEnv

    module, _, name = reference.partition(":")
    try:
        found: Any = importlib.import_module(module)
        if "/" in name:
            classes = [
                value for value in vars(found).values() if isinstance(value, type) and issubclass(value, ToolEnv)
            ]
            found = next((value for value in classes if value.id == name), None)
        else:
            for part in name.split("."):
                found = getattr(found, part)
    except RecallError as error:
        raise RecallError(f"{_whose(reference)}{reference}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise RecallError(
            f"{_whose(reference)}{reference} cannot be imported: {type(error).__name__}: {reason}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, ToolEnv)):
        raise RecallError(f"{_whose(reference)}{reference} is no ToolEnv class")
    return found


def rubric_of(rubric: "str | Rubric") -> "Rubric":
    """A Rubric, what `load_rubric` takes, or the contributed environment that has one. Raises RecallError."""
    from recall_env.rubric import load_rubric

    while isinstance(rubric, str) and (reference := reference_of(rubric)) is not None:
        rubric = class_of(reference).rubric
    return load_rubric(rubric) if isinstance(rubric, str) else rubric


def loaded(offer: Offer) -> "TaskSet":
    """An offer's tasks. Raises RecallError that names the package."""
    whose = f"package {offer.package} {offer.version}: "
    if offer.fault is not None:
        raise RecallError(whose + offer.fault)
    try:
        return class_of(offer.reference).task_set()
    except RecallError as error:
        raise RecallError(whose + str(error).removeprefix(whose)) from error


def one_of(target: str) -> str | None:
    """The "module:Class" of the one environment that a target of `find` stands for, None where it is nothing of that
    kind. Raises RecallError where there are several."""
    ids = find(target)
    if len(ids) > 1:
        raise RecallError(f"{target} holds several environments; name one: {listed(ids)}")
    return reference_of(ids[0]) if ids else None


def find(target: str) -> list[str]:
    """The ids of contributed environments that a target stands for, which may be an id or "module:Class", a package's
    folder, a Python file, an installed package or its module; none for anything else.

    A folder or file is made importable and its ids known, in this process. Raises RecallError for what is broken.
    """
    if reference_of(target) is not None:
        return [target]
    path = Path(target)
    if (path / "pyproject.toml").is_file():
        return _of_folder(path)
    if path.suffix == ".py" and path.is_file():
        return _of_file(path)
    asked = _plain(target)
    offers = [one for one in installed() if asked in map(_plain, (one.package, one.reference.split(":")[0]))]
    for offer in offers:
        if offer.fault is not None:
            raise RecallError(f"package {offer.package} {offer.version}: {offer.fault}")
    return [offer.id for offer in offers]


def _plain(name: str) -> str:
    """My_Tools and my-tools are one package."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_folder(folder: Path) -> list[str]:
    """What its pyproject.toml offers, whether it is installed or not."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8")).get("project", {})
    except (OSError, ValueError) as error:
        raise RecallError(f"{folder}/pyproject.toml cannot be read: {error}") from error
    points = project.get("entry-points", {}).get(GROUP, {})
    if points:
        _importable(folder / "src" if (folder / "src").is_dir() else folder)
    for env_id, value in points.items():
        if fault := _wrong_id(env_id):
            raise RecallError(f"{folder}/pyproject.toml: {fault}")
        contribute(env_id, _reference(env_id, value))
    return list(points)


def _of_file(file: Path) -> list[str]:
    """What its ToolEnv classes are called: by their ids, and those with tasks and no id by "module:Class"."""
    from recall_env.tools import ToolEnv

    _importable(file.parent)
    try:
        importlib.import_module(file.stem)
    except RecallError:
        raise
    except Exception as error:
        raise RecallError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    classes = [value for value in vars(sys.modules[file.stem]).values() if isinstance(value, type)]
    own = [env for env in classes if issubclass(env, ToolEnv) and env.__module__ == file.stem]
    whole = [env for env in own if env.id or (env.tasks and hasattr(env, "source"))]
    return [env.id or f"{file.stem}:{env.__qualname__}" for env in whole]


def _importable(folder: Path) -> None:
    path = str(folder.resolve())
    if path not in sys.path:
        sys.path.insert(0, path)


def _reference(env_id: str, value: str) -> str:
    return value.replace(" ", "") if ":" in value else f"{value.strip()}:{env_id}"


def _wrong_value(value: str) -> str | None:
    fits = re.fullmatch(r"[A-Za-z_][\w.]*(\s*:\s*[\w.]+)?", value.strip())
    return None if fits else f"{value!r} is no module and no module:Class"


def _wrong_id(env_id: str) -> str | None:
    if not _ID.fullmatch(env_id):
        return f"the id {env_id!r} is not of the form Namespace/Name-v0"
    return "ids of the namespace ReCall are ReCall's own" if env_id.startswith("ReCall/") else None


def _whose(reference: str) -> str:
    for offer in installed():
        if offer.reference == reference:
            return f"package {offer.package} {offer.version}: "
    return ""
