import pytest

from web.browser import chromium, running
from web_site import create_app, faked, settings, site_of


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a server on the same data folder, ending the one before."""
    faked(monkeypatch)
    running = []

    def started(**values):
        while running:
            site_of(running.pop()).close()
        running.append(create_app(settings(tmp_path / "data", **values)))
        return running[-1]

    yield started
    for app in running:
        site_of(app).close()
