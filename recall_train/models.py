"""Where a model's files are: the shipped tiny model by name, a folder, or a hub name."""

from pathlib import Path

from recall_env.errors import RecallError

SHIPPED = {"recall-tiny": Path(__file__).parent / "tiny" / "model"}


def model_folder(path: str) -> str:
    """What transformers and vLLM can load: a folder, or a hub name left as it is.

    Raises RecallError when the path can only mean a folder and holds no model.
    """
    if path in SHIPPED:
        return str(SHIPPED[path])
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise RecallError(f"model.path: {path} has no config.json; expected a Hugging Face model folder")
        return str(folder)
    looks_like_hub_name = path.count("/") == 1 and not path.startswith((".", "/", "~"))
    if not looks_like_hub_name:
        raise RecallError(
            f"model.path: {path} does not exist; give a Hugging Face folder, a hub name (owner/name), "
            f"or a shipped model: {', '.join(SHIPPED)}"
        )
    return path
