"""Unicode: the Gymnasium space of any text. `gymnasium.spaces.Text` knows a finite set of letters only."""

from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["Unicode"]

_SAMPLED = "abcdefghijklmnopqrstuvwxyzABCXYZ0123456789 .,:;!?'\"<>{}[]()\\/_-+=\néßλжश中文日本한😀"


class Unicode(spaces.Space[str]):
    """All strings; samples are short ones over a mixed alphabet, never a tool call."""

    def __init__(self, seed: int | np.random.Generator | None = None):
        super().__init__(shape=None, dtype=None, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random string of 1 to 40 letters. Neither a mask nor a probability means anything here."""
        if mask is not None or probability is not None:
            raise ValueError("Unicode.sample takes no mask and no probability")
        length = int(self.np_random.integers(1, 41))
        return "".join(_SAMPLED[i] for i in self.np_random.integers(0, len(_SAMPLED), length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unicode)

    def __hash__(self) -> int:
        return hash(Unicode)

    def __repr__(self) -> str:
        return "Unicode()"
