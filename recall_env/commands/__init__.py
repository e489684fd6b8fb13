"""The commands of recall-env: what `recall-env NAME` does stands in NAME.py. Wired up in recall_env/__main__.py."""
