"""What the sandbox costs and holds, measured: `python -m benchmarks.sandbox`. A measure a file, goals beside baselines.

Every measure runs in a process of its own and compares with a baseline measured in the same run on the same cores.
"""
