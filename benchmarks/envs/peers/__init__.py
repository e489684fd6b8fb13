"""Libraries that are compared with, each driven by a script that runs in the peers' own virtual environment."""
