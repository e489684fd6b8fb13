"""A jail and an interpreter for every call, as most sandboxes do it. `cold_floor.py ORDER_JSON`.

launch.py becomes this, in a mount namespace where nsjail finds what it mounts. ORDER has the command, how often, the
descriptors it needs and the value it must print. Prints the seconds as JSON. Standard library only.
"""

import json
import subprocess
import sys
import time

order = json.loads(sys.argv[1])
seconds = []
for _ in range(order["n"]):
    start = time.perf_counter()
    run = subprocess.run(order["command"], capture_output=True, pass_fds=order["fds"], check=False)
    seconds.append(time.perf_counter() - start)
    if run.returncode or json.loads(run.stdout) != order["value"]:
        sys.exit(f"a cold jail came to {run.returncode}, {run.stdout!r}: {run.stderr.decode(errors='replace')[-500:]}")
print(json.dumps(seconds))
