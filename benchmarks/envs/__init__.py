"""What an environment's step costs, measured: `python -m benchmarks.envs`. A measure a file, goals beside baselines.

Every measure runs in a process of its own. The libraries it is compared with come from PyPI into a virtual environment
of their own; ReCall's server is the one of benchmarks/sandbox.
"""
