"""The shipped tasks, `syntool-<split>.parquet`: found by `recall_env.taskset` under the name `syntool`."""
