"""Fork, exit, wait: of a process that holds what a zygote holds. `fork_floor.py SANDBOX_FOLDER N`.

Run by floors.py with the interpreter and the flags that a jail runs its zygote with. Prints the seconds as JSON.
"""

import json
import os
import sys
import time

sys.path.insert(0, sys.argv[1])
import zygote

clock = time.perf_counter  # what is warm has fixed clocks
zygote.prepare(landlock_only=False)
zygote.sharing.prepare()

seconds = []
for _ in range(int(sys.argv[2])):
    start = clock()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    seconds.append(clock() - start)
print(json.dumps(seconds))
