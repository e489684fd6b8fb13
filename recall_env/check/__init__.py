"""check: the proof, without a model, that an environment is sound. `recall-env check`; docs/check.md.

checks.py has the table of checks, run.py plays them over many tasks, command.py is the command.
"""
