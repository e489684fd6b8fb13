import pytest
from backends import BACKENDS, LIMITS


@pytest.fixture(scope="module", params=BACKENDS)
def pool(request):
    with_limits = BACKENDS[request.param](limits=LIMITS)
    yield with_limits
    with_limits.close()
