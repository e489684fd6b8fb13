"""One rank of test_ranks.py: `python ranks_rank.py STORE`, under the launcher's variables. Prints JSON."""

import json
import sys

import torch.distributed as dist

from recall_env.errors import RecallError
from recall_train.ranks import Ranks


def refuse() -> None:
    raise RecallError(f"rank {ranks.rank} refuses")


if __name__ == "__main__":
    ranks = Ranks()
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=ranks.rank, world_size=ranks.size)
    ran = []
    first = ranks.first(lambda: ran.append(ranks.rank) or f"from {ranks.rank}")
    try:
        error = ranks.first(refuse)
    except RecallError as e:
        error = str(e)
    gathered = ranks.gather({"rank": ranks.rank})
    print(json.dumps({"first": first, "ran": ran, "error": error, "gathered": gathered, "share": ranks.share(5)}))
    dist.destroy_process_group()
