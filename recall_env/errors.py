"""Errors, by whose fault they are. The type decides who gets to see one (docs/architecture.md, "Faults")."""

__all__ = ["EnvError", "JudgeFailure", "RecallError", "SandboxFailure", "SandboxUnavailable", "TaskError"]


class RecallError(Exception):
    """Something a person can fix; its text is one line: what, where, what to do. Command lines exit 2 on it."""


class TaskError(RecallError, ValueError):
    """A data point that cannot be used; the text names file, row, column and reason."""


class EnvError(RecallError):
    """The environment author's fault: the tool source does not load, or a rubric raised."""


class SandboxFailure(RecallError):
    """Ours: the jail broke, its wire broke, a worker died. Never shown to the model, never trained on."""


class SandboxUnavailable(SandboxFailure):
    """This machine cannot jail tools at all; the text says which step fails and how to lift it."""


class JudgeFailure(RecallError):
    """A judge gave no verdict, after retries. Nobody's move: the episode is void, not lost."""
