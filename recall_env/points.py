"""Imported for its effect: each task of the built-in sets gets its environment id.

Gymnasium imports what stands before the colon of an id, so one string names a data point, in any process:
`gym.make("recall_env.points:ReCall/SynTool.<task-id>-v0")`.
"""

from recall_env.registry import register_built_in

register_built_in()
