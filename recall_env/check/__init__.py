"""check: the proof, without a model, that an environment is sound. `recall-env check`; docs/check.md.

checks.py has the table of checks, run.py plays them over many tasks; the command is recall_env/commands/check.py.
"""
