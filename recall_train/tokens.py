"""Chat template to ids, append-only: history is never tokenised a second time.

The first prompt is the whole template rendering. Everything later is a suffix: what the template puts after an
assistant turn for the new messages, found once by rendering a stand-in conversation with and without them. So the
prompt of turn k+1 is the ids of turn k, as sampled, plus new ids. Not here: which ids are trained on (trajectory.py).
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import cached_file

from recall_env.errors import RecallError

Message = dict[str, Any]

_STAND_IN = "stand-in"  # content of the conversation that suffixes are cut from
_TURN = "the turn that a suffix follows"  # content of that conversation's assistant turn
_OPENING = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
_TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
_BREAK = "\u200b"  # zero-width space: put into text that spells a special token, so that it stays text


class ChatTokens:
    """A tokenizer and its chat template, as the rollout needs them."""

    def __init__(self, model_path: str | Path):
        """Raises RecallError when the tokenizer cannot be loaded or its template does not append."""
        folder = Path(model_path)
        if folder.is_dir() and not any((*folder.glob("tokenizer*"), *folder.glob("vocab*"))):
            raise RecallError(f"{model_path}: no tokenizer here (tokenizer.json); expected a Hugging Face model folder")
        try:
            self.tokenizer = _load_tokenizer(model_path)
        except (OSError, ValueError) as e:
            raise RecallError(f"{model_path}: no tokenizer can be loaded from here ({_first_line(e)})") from e
        if self.tokenizer.chat_template is None:
            raise RecallError(f"{model_path}: the tokenizer has no chat template; use an instruct model")
        added = self.tokenizer.added_tokens_decoder.values()
        self._specials = sorted({*self.tokenizer.all_special_tokens, *(t.content for t in added if t.special)})
        self._stop_text = self._end_of_turn()
        self.stop_ids = frozenset([self.tokenizer.convert_tokens_to_ids(self._stop_text)])
        self._shows_tools = self._opening(tools=_TOOLS) != self._opening(tools=None)
        self._check_template()

    def start(self, messages: list[Message], tools: list[dict] | None, prefill: str = "") -> list[int]:
        """Ids of the first prompt, ready for the assistant's first turn; `prefill` begins that turn."""
        if tools and not self._shows_tools:
            raise RecallError(
                "this model's chat template shows the model no tools; give its tokenizer one that does, or train with "
                "env.dialect = recall, which has them in its prompt"
            )
        text = self._render([self._disarm(m) for m in messages], tools=tools or None, prompt=True)
        return self._encode(text + prefill)

    def suffix(self, messages: list[Message], prefill: str = "") -> list[int]:
        """Ids to append after an assistant turn that ended with its stop token, up to the next turn's start."""
        base = [{"role": "user", "content": _STAND_IN}, {"role": "assistant", "content": _TURN}]
        # Cut from one rendering: a template may write the last turn of all otherwise (Qwen3 gives it an empty thought).
        _, turn, after = self._render(base + [self._disarm(m) for m in messages], prompt=True).partition(_TURN)
        if not turn or not after.startswith(self._stop_text):
            raise RecallError("this model's chat template rewrites earlier turns; it cannot be appended to")
        return self._encode(after[len(self._stop_text) :] + prefill)

    def text(self, ids: list[int]) -> str:
        """A sampled turn as the environment reads it: without its stop token."""
        ids = list(ids[:-1] if ids and ids[-1] in self.stop_ids else ids)
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _end_of_turn(self) -> str:
        """The special token that the template puts behind an assistant turn. Not always eos_token: that of a base
        model's tokenizer ends documents."""
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _STAND_IN}]
        behind = self._render(turns, prompt=False).rpartition(_STAND_IN)[2]
        ends = [token for token in self._specials if behind.startswith(token)]
        if not ends:
            raise RecallError("this model's chat template does not end an assistant turn with a special token")
        return max(ends, key=len)

    def _check_template(self) -> None:
        """Render one conversation whole and in pieces; unequal text means training would drift from the template."""
        reply = [{"role": "tool", "content": '{"a": 1}'}]
        turn = {"role": "assistant", "content": "some text"}
        whole = self._render([*_OPENING, turn, *reply], tools=_TOOLS, prompt=True)
        first = self._opening(tools=_TOOLS)
        pieces = first + "some text" + self._stop_text + self.tokenizer.decode(self.suffix(reply))
        if whole != pieces:
            raise RecallError(
                "this model's chat template does not append: one conversation rendered whole differs from the same "
                f"in pieces, first at character {_first_difference(whole, pieces)}"
            )

    def _opening(self, *, tools: list[dict] | None) -> str:
        return self._render(_OPENING, tools=tools, prompt=True)

    def _render(self, messages: list[Message], *, tools: list[dict] | None = None, prompt: bool) -> str:
        return self.tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=False)

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _disarm(self, message: Message) -> Message:
        """The message with no special token spelled out in its content: a tool must not open a turn."""
        content = message.get("content")
        if not isinstance(content, str):
            return message
        for token in self._specials:
            content = content.replace(token, token[0] + _BREAK + token[1:])
        return {**message, "content": content}


def _load_tokenizer(model_path: str | Path) -> PreTrainedTokenizerBase:
    """As its tokenizer.json says, where there is one: AutoTokenizer replaces a model's own rules for splitting text by
    those of its architecture (every qwen2 is split like Qwen2), and a prompt is then not what the model was trained on.
    """
    quietly = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
    file = cached_file(str(model_path), "tokenizer.json", **quietly)  # of a folder or of a hub name
    return (PreTrainedTokenizerFast if file else AutoTokenizer).from_pretrained(str(model_path))


def _first_line(e: Exception) -> str:
    return str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__


def _first_difference(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
