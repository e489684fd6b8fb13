"""The host that both directions attack."""

import os

import pytest
from scene import Host


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    os.environ["RECALL_CANARY"] = "secret of the host"
    tmp_path_factory.getbasetemp().chmod(0o755)
    made = Host(tmp_path_factory.mktemp("host"))
    yield made
    made.close()
    del os.environ["RECALL_CANARY"]
