"""python tools/reference/reference_site.py [FOLDER]: the guide and the API reference as one static site, in site/.

The reference is made of what the modules in PUBLIC name in `__all__`: their docstrings, and the comments at their
fields. A warning of pdoc, a name without documentation or a link that leads nowhere is an error: exit code 1.
"""

import functools
import importlib
import re
import shutil
import sys
import typing
import warnings
from pathlib import Path

import pdoc.doc
import pdoc.render
import pdoc.render_helpers
from reference_docstrings import comments_of, in_items, without_tags

ROOT = Path(__file__).parent.parent.parent
PUBLIC = (
    *("recall_env", "recall_env.env", "recall_env.vector", "recall_env.vector_env", "recall_env.spaces"),
    *("recall_env.task", "recall_env.taskset", "recall_env.tool_call", "recall_env.tools", "recall_env.registry"),
    *("recall_env.dialect", "recall_env.answer", "recall_env.rubric", "recall_env.agent", "recall_env.play"),
    *("recall_env.evaluate", "recall_env.episode_file", "recall_env.replay", "recall_env.rescore", "recall_env.check"),
    *("recall_env.sandbox", "recall_env.errors"),
    *("recall_train.config", "recall_train.engine", "recall_train.engine.base", "recall_train.rollout"),
    *("recall_train.trajectory", "recall_train.batch", "recall_train.grpo", "recall_train.learner"),
    *("envs_synthetic.generate", "envs_synthetic.families", "envs_synthetic.draft", "envs_synthetic.verify"),
)
INDEX = ROOT / "docs" / "index.md"
PAGES = {  # page -> where it lies in the site
    INDEX: "index.html",
    ROOT / "README.md": "guide/readme.html",
    ROOT / "CONTRIBUTING.md": "guide/contributing.html",
    **{page: f"guide/{page.stem}.html" for page in sorted((ROOT / "docs").glob("*.md")) if page != INDEX},
}
EACH_FIELD = {"recall_train.config"}  # whose fields each need words; elsewhere those of the class may do

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"<code>([\w./]+)</code>")
_TARGET = re.compile(r'(?:href|src)="(?!https?:|data:|mailto:)([^"#?]*)(?:\?[^"#]*)?(?:#([^"]*))?"')
_ID = re.compile(r'\bid="([^"]*)"')

Modules = dict[str, pdoc.doc.Module]


def main(words: list[str]) -> int:
    folder = Path(words[0]) if words else ROOT / "site"
    sys.path.insert(0, str(ROOT))  # this tree's packages, wherever others are installed
    modules = read(PUBLIC)
    faults = [f"{name} is not documented" for module in modules.values() for name in undocumented(module)]
    if not faults:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write(folder, modules)
        faults = [f"warning: {warning.message}" for warning in caught] + broken_links(folder)
    for fault in faults:
        print(f"reference: {fault}", file=sys.stderr)
    if not faults:
        print(folder / "index.html")
    return int(bool(faults))


def read(names: tuple[str, ...]) -> Modules:
    """The modules, imported, with the comments at fields and constants as documentation where there is none."""
    modules = {}
    for name in names:
        obj = importlib.import_module(name)
        for public in obj.__all__:
            getattr(obj, public)  # packages that import a name when it is first used
            obj.__dict__.setdefault(public, getattr(obj, public))
        modules[name] = pdoc.doc.Module(obj)
        modules[name].docstring = without_tags(modules[name].docstring)
    for module in modules.values():
        for doc in members(module):
            _complete(doc, module)
    return modules


def members(space: pdoc.doc.Namespace) -> list[pdoc.doc.Doc]:
    """Everything that the page of a module shows: its names, and the public ones of its classes."""
    found: list[pdoc.doc.Doc] = []
    for doc in space.own_members if isinstance(space, pdoc.doc.Class) else space.members.values():
        if isinstance(space, pdoc.doc.Class) and (doc.name.startswith("_") and doc.name != "__init__"):
            continue
        found.append(doc)
        if isinstance(doc, pdoc.doc.Class):
            found += members(doc)
    return found


def _complete(doc: pdoc.doc.Doc, module: pdoc.doc.Module) -> None:
    """Puts in what pdoc does not see (comments, a protocol's words on a method), and takes out what nobody calls."""
    names: set[str] = set()
    if isinstance(doc, pdoc.doc.Class) and doc.taken_from[0] != module.modulename and doc.taken_from[0] in PUBLIC:
        _take_out(doc, list(doc.members))  # they stand on its own page
    elif isinstance(doc, pdoc.doc.Class):
        _take_out(doc, [field.name for field in doc.own_members if _is_internal(field, doc.obj)])
        names = {field.name for field in doc.own_members if isinstance(field, pdoc.doc.Variable)}
        constructor = doc.members.get("__init__")
        if getattr(doc.obj, "_is_protocol", False) or issubclass(doc.obj, BaseException):
            _take_out(doc, ["__init__"])
        elif constructor is not None and constructor.taken_from[0].partition(".")[0] != _package(module):
            _take_out(doc, ["__init__"])
        elif constructor is not None and "__init__" not in vars(doc.obj):
            constructor.docstring = ""  # a base's, which says nothing about this one
    elif isinstance(doc, pdoc.doc.Function):
        names = set(doc.signature.parameters)
        doc.docstring = doc.docstring or _of_protocol(doc, module)
    elif isinstance(doc, pdoc.doc.Variable):
        doc.docstring = doc.docstring or _comment(doc)
        owner = module.get(doc.qualname.rpartition(".")[0])
        if owner is not None and "FieldInfo(" in str(doc.annotation):
            doc.annotation = typing.get_type_hints(owner.obj)[doc.name]  # without pydantic's bounds
        if _section(doc, module) or str(ROOT) in str(doc.default_value):  # explained by its class; differs by machine
            doc.default_value = pdoc.doc.empty
    doc.docstring = without_tags(in_items(doc.docstring, names))


def _take_out(doc: pdoc.doc.Class, names: list[str]) -> None:
    for name in names:
        doc.members.pop(name, None)
    for kept in ("own_members", "_members_by_origin"):  # by pdoc, which made them from `members`
        vars(doc).pop(kept, None)


def _package(module: pdoc.doc.Module) -> str:
    return module.modulename.partition(".")[0]


def _of_protocol(doc: pdoc.doc.Function, module: pdoc.doc.Module) -> str:
    """What a protocol of the same page, which the class has every method of, says about one."""
    owner = module.get(doc.qualname.rpartition(".")[0])
    protocols = [other for other in module.classes if getattr(other.obj, "_is_protocol", False)]
    methods = {other: [f.name for f in other.own_members if not f.name.startswith("_")] for other in protocols}
    kept = [other for other in protocols if owner and all(hasattr(owner.obj, name) for name in methods[other])]
    return next((other.members[doc.name].docstring for other in kept if doc.name in other.members), "")


def _comment(doc: pdoc.doc.Variable) -> str:
    """That of a field or constant; of a package's constant, in the file of the package that assigns it."""
    homes = (doc.taken_from[0], doc.modulename)  # a value of another module's type seems to be taken from there
    files = [name for home in homes for name in sys.modules if name == home or name.startswith(f"{home}.")]
    return next((text for name in files if (text := comments_of(sys.modules[name]).get(doc.qualname))), "")


def _is_internal(field: pdoc.doc.Doc, owner: type) -> bool:
    """What a class sets on itself and says nothing about, and pydantic's own at every section of the settings."""
    if not isinstance(field, pdoc.doc.Variable):
        return False
    declared = field.name in vars(owner) or any(field.name in vars(c).get("__annotations__", {}) for c in owner.__mro__)
    return field.name == "model_config" or not (declared or field.docstring or _comment(field))


def undocumented(module: pdoc.doc.Module) -> list[str]:
    """Public names without a word about them. The fields of a class that has a docstring may do without."""
    missing = [] if module.docstring else [module.modulename]
    for doc in members(module):
        owner = module.get(doc.qualname.rpartition(".")[0])
        is_field = isinstance(owner, pdoc.doc.Class) and isinstance(doc, pdoc.doc.Variable)
        if is_field and not isinstance(vars(owner.obj).get(doc.name), property | functools.cached_property):
            spared = _section(doc, module) or module.modulename not in EACH_FIELD
        else:
            spared = doc.name == "__init__"
        if not (doc.docstring or spared):
            missing.append(doc.fullname)
    return missing


def _section(doc: pdoc.doc.Variable, module: pdoc.doc.Module) -> bool:
    """A field whose type is a class on the same page, which has the words: a section of the settings."""
    return module.modulename in EACH_FIELD and getattr(doc.annotation, "__name__", "") in module.members


def write(folder: Path, modules: Modules) -> None:
    """The site, in a folder that is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pdoc.render.configure(template_directory=Path(__file__).parent, show_source=True)
    for name, module in modules.items():
        file = folder / f"{name.replace('.', '/')}.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(pdoc.render.html_module(module, modules))
    (folder / "search.js").write_text(pdoc.render.search_index(modules))
    shutil.copytree(ROOT / "docs" / "images", folder / "guide" / "images")
    for page, place in PAGES.items():
        text = page.read_text() + (_module_table(modules) if page == INDEX else "")
        (folder / place).write_text(_page(text, page, place, modules))


def _module_table(modules: Modules) -> str:
    """Markdown: every module of the reference, with the first sentence of its docstring."""
    lines = ["", "| module | is |", "|---|---|"]
    for name, module in modules.items():
        first = re.split(r"(?<=\.)\s", module.docstring.strip(), maxsplit=1)[0]
        lines.append(f"| `{name}` | {' '.join(first.split())} |")
    return "\n".join([*lines, ""])


def _page(text: str, page: Path, place: str, modules: Modules) -> str:
    up = "../" * place.count("/")

    def relinked(found: re.Match[str]) -> str:
        image, words, path, anchor = found.groups()
        target = (page.parent / path).resolve()
        if image:
            return f"![{words}]({up}guide/images/{target.name})"
        return f"[{words}]({up}{PAGES[target]}{anchor or ''})" if target in PAGES else words

    def resolved(found: re.Match[str]) -> str:
        """A module, a name of one, or a module's file, in code marks, as a link into the reference."""
        name = found[1].removesuffix(".py").replace("/", ".")
        module, anchor = (name, "") if name in modules else (name.rpartition(".")[0], name.rpartition(".")[2])
        if module not in modules or (anchor and anchor not in modules[module].members):
            return found[0]
        return f'<a href="{up}{module.replace(".", "/")}.html{"#" * bool(anchor)}{anchor}">{found[0]}</a>'

    html = pdoc.render_helpers.to_html(_LINK.sub(relinked, re.sub(r"<!--.*?-->", "", text)))
    title = text.partition("\n")[0].removeprefix("# ")
    template = pdoc.render.env.get_template("page.html.jinja2")
    guide = {_title(page): up + place for page, place in PAGES.items()}
    reference = {name: f"{up}{name.replace('.', '/')}.html" for name in modules}
    return template.render(title=title, html=_CODE.sub(resolved, html), guide=guide, reference=reference)


def _title(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ")


def broken_links(folder: Path) -> list[str]:
    """Links and anchors of the site that lead nowhere in it."""
    texts = {file.resolve(): file.read_text() for file in folder.rglob("*.html")}
    anchors = {file: set(_ID.findall(text)) for file, text in texts.items()}
    broken = []
    for file, text in texts.items():
        for path, anchor in dict.fromkeys(_TARGET.findall(re.sub(r"(?s)<(script|style).*?</\1>", "", text))):
            target = (file.parent / path).resolve() if path else file
            if not target.exists() or (anchor and target in anchors and anchor not in anchors[target]):
                broken.append(f"{file.relative_to(folder.resolve())}: no {path}{'#' * bool(anchor)}{anchor}")
    return broken


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
