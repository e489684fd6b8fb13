"""The tokenizer of recall-tiny: byte-level BPE of its own, ChatML and tool tokens, a Hermes-style chat template.

Made so that a small model reads little and copies exactly: a word is one piece whether a space, a quote or an
underscore stands before it; a digit is one token; the fixed phrases of JSON schemas and calls are one token each.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = (  # text to decode, one token each to read and write
    "<tool_call>\n",
    "\n</tool_call>",
    "\n<tool_response>\n",
    "\n</tool_response>",
    "\n# Tools\n",
    '{"name": "',
    '", "arguments": {',
    '", "arguments": {"',
    '{"type": "function", "function": {"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {',
    '": {"type": "string"',
    '": {"type": "integer"',
    '": {"type": "number"',
    ', "description": "',
    '"}, "',
    '}, "required": [',
    "]}}}",
    '{"error": "',
    "\\boxed{",
    "The answer is ",
)
# a word, or one digit, or a run of anything else; spaces are never part of a word, so a word has one spelling
PIECES = r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]|[^A-Za-z0-9]+"

# {{ "\n" }} spells line ends out, because transformers trims those that follow a block
TEMPLATE = """\
{%- set nl = "\\n" %}
{%- if messages[0].role == "system" %}
    {%- set system, rest = messages[0].content, messages[1:] %}
{%- else %}
    {%- set system, rest = "", messages %}
{%- endif %}
{%- if system or tools %}
    {{- "<|im_start|>system" + nl + system }}
    {%- if tools %}
        {{- nl + "# Tools" }}
        {%- for tool in tools %}
            {{- nl + (tool | tojson) }}
        {%- endfor %}
    {%- endif %}
    {{- "<|im_end|>" + nl }}
{%- endif %}
{%- for message in rest %}
    {%- if message.role == "tool" %}
        {%- if loop.first or loop.previtem.role != "tool" %}
            {{- "<|im_start|>user" }}
        {%- endif %}
        {{- nl + "<tool_response>" + nl + message.content + nl + "</tool_response>" }}
        {%- if loop.last or loop.nextitem.role != "tool" %}
            {{- "<|im_end|>" + nl }}
        {%- endif %}
    {%- else %}
        {{- "<|im_start|>" + message.role + nl + message.content + "<|im_end|>" + nl }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant" + nl }}
{%- endif %}
"""


def build_tokenizer(texts: Iterable[str], vocab_size: int, fixed: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """Learn merges from texts. `fixed`: further phrases that are one token each, such as the system message."""
    marks = [AddedToken(mark, normalized=False) for mark in (*MARKS, *fixed)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(marks),
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
