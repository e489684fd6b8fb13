"""SynToolVectorEnv: many episodes in step, behind Gymnasium's VectorEnv. What `gym.make_vec` makes of our ids.

Every step takes one turn in each sub-environment, over an EnvPool; the slowest tool of a step sets its pace. A loop
that can use turns as they become ready drives the EnvPool itself (vector.py). Nothing is reset on its own: an
episode's end is seen, and the next one is begun by reset's "reset_mask".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recall_env.env import SynToolEnv
from recall_env.errors import RecallError
from recall_env.nearest import did_you_mean, listed
from recall_env.vector import EnvPool, Event

__all__ = ["SynToolVectorEnv"]

_MOST_WORKERS = 64
_EACH = {"tasks": "task", "indices": "index", "ids": "id"}  # option with one entry per sub-environment -> the env's own
_FOR_ALL = tuple(_EACH.values())
_MASK = "reset_mask"

Step = tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


def _metadata() -> dict[str, Any]:
    autoreset = {}
    if hasattr(gym.vector, "AutoresetMode"):  # Gymnasium 1.0 has none
        autoreset["autoreset_mode"] = gym.vector.AutoresetMode.DISABLED
    return {**SynToolEnv.metadata, **autoreset}


class SynToolVectorEnv(VectorEnv[tuple[str, ...], Sequence[str], np.ndarray]):
    """Several SynToolEnvs, num_envs of them. Observations and actions are one text each: a tuple of texts out, any
    sequence of texts in; rewards are (num_envs,) float64, ends (num_envs,) bool.

    infos: each key of the environments' `info` as an array, with the mask `_key` of those that have it.
    """

    metadata = _metadata()

    def __init__(self, num_envs: int = 1, *, workers: int | None = None, **settings: Any):
        """workers: as EnvPool takes them; default: one for each sub-environment, up to 64. settings: SynToolEnv's own.

        Raises RecallError as SynToolEnv does.
        """
        if not isinstance(num_envs, int) or num_envs < 1:
            raise RecallError(f"num_envs: expected an integer of at least 1, got {num_envs!r}")
        self.closed = True  # so far there is nothing to close; Gymnasium 1.0 closes what it collects, half-made too
        self._settings = settings
        self._first = SynToolEnv(**settings)  # refuses wrong settings now, and opens the one set that all share
        self.num_envs, self.render_mode = num_envs, self._first.render_mode
        self.single_observation_space = self._first.observation_space
        self.single_action_space = self._first.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._pool = EnvPool(self._make_env, num_envs, workers or min(num_envs, _MOST_WORKERS))
        self._observations = [""] * num_envs
        self._ended = np.ones(num_envs, dtype=bool)
        self.closed = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Begin episodes: in all sub-environments, or in those that options["reset_mask"] (an array of bool) marks.

        seed: one for each, or an integer: sub-environment i gets seed + i. options, besides the mask: "task", "index"
        or "id" for all, or "tasks", "indices" or "ids" with an entry for each.
        Returns the observations of all, the last ones of those that go on; infos of those that were reset.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        options = dict(options or {})
        chosen = np.flatnonzero(self._mask(options.pop(_MASK, None)))
        seeds, each = self._seeds(seed), self._options(options)
        if not {"task", "tasks"} & options.keys():
            self._settings["tasks"] = self._first.tasks
        self._settle()
        self._ended[chosen] = True
        for index in chosen:
            self._pool.reset(int(index), seed=seeds[index], options=each[index])
        events = self._gather()
        return tuple(self._observations), self._infos(events)

    def step(self, actions: Sequence[str]) -> Step:
        """One turn in every sub-environment.

        Raises ResetNeeded when an episode has ended or none was begun. What a sub-environment raises comes out when
        the others have taken their turns, with a note that says which it was; its episode has then ended.
        """
        if len(actions) != self.num_envs:
            raise RecallError(f"actions: expected {self.num_envs}, one for each sub-environment, got {len(actions)}")
        if self._ended.any():
            raise gym.error.ResetNeeded(
                "no episode is live in the sub-environments "
                f"{listed(map(str, np.flatnonzero(self._ended)))}; begin one in each of them first: "
                'reset(options={"reset_mask": terminations | truncations})'
            )
        self._settle()
        self._ended[:] = True  # until it is known better: an interrupted step is over for all
        for index, action in enumerate(actions):
            self._pool.send(index, action)
        events = self._gather()
        rewards = np.array([event.reward for event in events], dtype=np.float64)
        terminations = np.array([event.terminated for event in events], dtype=np.bool_)
        truncations = np.array([event.truncated for event in events], dtype=np.bool_)
        return tuple(self._observations), rewards, terminations, truncations, self._infos(events)

    def render(self) -> tuple[str | None, ...] | None:
        """Each episode so far as text, in mode "ansi"; None where none was begun."""
        if self.render_mode is None:
            return None
        envs = map(self._pool.env, range(self.num_envs))
        return tuple(None if env is None else env.render() for env in envs)

    def telemetry(self) -> tuple[dict[str, Any], ...]:
        """`SynToolEnv.telemetry` of each; empty where no episode was begun."""
        return tuple(map(self._pool.telemetry, range(self.num_envs)))

    def close_extras(self, **kwargs: Any) -> None:
        """End every episode and its threads: Gymnasium's close() calls it once."""
        self._pool.close()
        self._first.close()

    def _make_env(self) -> SynToolEnv:
        return SynToolEnv(**self._settings)

    def _settle(self) -> None:
        """Wait for what an interrupted reset or step had begun."""
        self._pool.recv(self._pool.pending)

    def _gather(self) -> list[Event]:
        """The events of all operations sent, by sub-environment. Raises the first error among them."""
        events = sorted(self._pool.recv(self._pool.pending), key=lambda event: event.index)
        for event in events:
            if event.error is None:
                self._observations[event.index] = event.observation
                self._ended[event.index] = event.terminated or event.truncated
        for event in events:
            if event.error is not None:
                event.error.add_note(f"in sub-environment {event.index} of {self.num_envs}")
                raise event.error
        return events

    def _infos(self, events: list[Event]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for event in events:
            info = dict(event.info)
            state = info.pop("final_state", None)
            infos = self._add_info(infos, info, event.index)
            if state is not None:  # what tools return has any form, so it stays whole
                infos = self._add_info(infos, {"final_state": None}, event.index)
                infos["final_state"][event.index] = state
        return infos

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=bool)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            shown = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise RecallError(f"reset_mask: expected a NumPy array of bool of shape ({self.num_envs},), got {shown}")
        if not mask.any():
            raise RecallError("reset_mask: it marks no sub-environment")
        return mask

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise RecallError(f"seed: expected {self.num_envs}, one for each sub-environment, got {len(seed)}")
        return list(seed)

    def _options(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        """reset's options for each sub-environment."""
        known = (_MASK, *_FOR_ALL, *_EACH)
        for key in options:
            if key not in known:
                raise RecallError(f"reset has no option {key!r}{did_you_mean(key, known)}")
        each: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for key, value in options.items():
            if key in _EACH and len(value) != self.num_envs:
                raise RecallError(f"{key}: expected {self.num_envs}, one for each sub-environment, got {len(value)}")
            for index in range(self.num_envs):
                named = value[index] if key in _EACH else value
                if named is not None:
                    each[index][_EACH.get(key, key)] = named
        return each
