import os
import tempfile

import hypothesis
import pytest

# child processes of tests find their caches here, not in the home of whoever runs the tests
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="bystander-tests-")

# a busy machine is no defect
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def plain_runtime(request, monkeypatch):
    """Tests compute on the plain processor runtime, unless they are about the others."""
    if "test_runtimes" not in request.node.nodeid:
        from bystander.models import runtimes

        monkeypatch.setattr(runtimes, "available", lambda _weights: (runtimes.PLAIN,))
