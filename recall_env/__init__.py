"""ReCall's environment SDK: tool-calling tasks as Gymnasium environments, with the tools in a jail.

Importing it registers `ReCall/SynTool-v0` and what installed packages contribute. It is light: pyarrow, the validator,
the jail and those packages load when first needed.
"""

from recall_env.errors import EnvError, RecallError, SandboxFailure, SandboxUnavailable, TaskError
from recall_env.packages import register_installed
from recall_env.registry import register, register_tasks
from recall_env.task import Solution, Task
from recall_env.taskset import TaskSet
from recall_env.tool_call import ToolCall, ToolResult
from recall_env.tools import ToolEnv, tool

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
    "ToolEnv",
    "ToolResult",
    "register_tasks",
    "tool",
]

register()
register_installed()
