"""A tool source of a peaceful episode: one that was open before an attack and shall not have noticed, or a new one."""

import decimal
import json
import os
import random
import threading

SECRET = "of the bystander"
_visits = []


def remember(word, writes=True):
    """In memory and in a file; what both hold is returned. writes: False where there is no scratch folder."""
    _visits.append(word)
    if not writes:
        return [_visits, _visits]
    with open("visits", "a") as file:
        file.write(word + "\n")
    with open("visits") as file:
        return [_visits, file.read().split()]


def work(writes=True):
    """A little of everything that an attack may have broken. What it returns is WORK."""

    class Thing:
        number = int("3") + int("4")

    done = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    if writes:
        with open("worked", "w") as file:
            file.write("x")
        os.unlink("worked")
    print("hello")
    drawn = [random.random() for _ in range(3)]
    third = str(decimal.Decimal(1) / 3)
    deep = json.loads("[" * 40 + "]" * 40)
    compile("1 + 1", "<x>", "eval")
    return [json.loads("[1]"), str(Thing.number), "a".upper(), done, len(set(drawn)), len(third), len(json.dumps(deep))]


WORK = [[1], "7", "A", [1], 3, 30, 80]
