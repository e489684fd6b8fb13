"""A new package that holds an environment. The template is such a package; here it gets its name."""

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from recall_env.errors import RecallError

TEMPLATE = Path(__file__).with_name("template")
_MODULE, _CLASS = "my_tools", "MyTools"  # what the template is called
_KINDS = (".py", ".toml", ".md", ".jsonl")


def create(name: str, folder: Path | None = None) -> tuple[Path, Path]:
    """Write the package; its folder, and the file with its tools. folder: where; default: `name`, here.

    Raises RecallError for a name that Python cannot import, or that another module has, and for a folder that is
    there already: nothing is overwritten.
    """
    module = name.replace("-", "_")
    _check_name(name, module)
    folder = Path(name) if folder is None else folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecallError(f"{folder} is there already; nothing was changed. Give another name, or --folder")
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.suffix in _KINDS):
        target = folder / _named(str(source.relative_to(TEMPLATE)), module)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_named(source.read_text("utf-8"), module), "utf-8")
    return folder, folder / "src" / module / "__init__.py"


def _check_name(name: str, module: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module) or keyword.iskeyword(module):
        raise RecallError(f"{name!r} is no name for a package; take small letters, digits and _, as in my_tools")
    if module in sys.stdlib_module_names:
        raise RecallError(f"{name!r} is a module of Python's own; take another name")
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.origin is not None:
        raise RecallError(f"{name!r} is the name of an installed module; take another one")


def _named(text: str, module: str) -> str:
    capitalised = "".join(part[:1].upper() + part[1:] for part in module.split("_"))
    return text.replace(_MODULE, module).replace(_CLASS, capitalised)
