"""ReCall's environment SDK: tool-calling tasks as Gymnasium environments, with the tools in a jail.

Importing it registers `ReCall/SynTool-v0`. It is light: pyarrow, the validator and the jail load when first needed.
"""

from recall_env.errors import EnvError, RecallError, SandboxFailure, SandboxUnavailable, TaskError
from recall_env.registry import register, register_tasks
from recall_env.task import Solution, Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall, ToolResult

__all__ = [
    "EnvError",
    "RecallError",
    "SandboxFailure",
    "SandboxUnavailable",
    "Solution",
    "Task",
    "TaskError",
    "TaskSet",
    "ToolCall",
    "ToolResult",
    "register_tasks",
]

register()
