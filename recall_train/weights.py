"""Weights, from learner to engine, in one process. Names stay Hugging Face's; the engine maps them to its own."""

from recall_train.engine.base import Engine
from recall_train.learner import Learner


def sync(learner: Learner, engine: Engine, version: int) -> None:
    """Collective. Stream the learner's weights into this rank's engine, which wakes and takes the version number.

    A tensor at a time outside ZeRO-3, a bucket of them under it: no second copy of the model is made on the way.
    """
    engine.load_weights(learner.named_weights(), version)
