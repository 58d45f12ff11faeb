"""The API keeps to its own description, whatever it is asked."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounds
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bystander.web.openapi import LEFT_OUT, ROUTES, openapi
from web_site import BEARER, TOKEN, FakeSteps, create_app, faked, ready_film, settings, site_of


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        faked(patch)
        app = create_app(settings(tmp_path_factory.mktemp("api"), token=TOKEN, max_films=1000))
        FakeSteps.newest.go.set()
        yield app
        site_of(app).close()


@pytest.fixture(scope="module")
def api(app):
    return schemathesis.openapi.from_wsgi("/api/openapi.json", app, headers=BEARER)


def test_the_description_holds_every_route(app):
    """Each address under /api is described with its methods, and nothing is described that is not there."""
    really = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"OPTIONS"} - ({"HEAD"} if "GET" in rule.methods else set())
        if rule.rule.startswith("/api") and rule.rule not in LEFT_OUT
    }
    assert {(r.method, r.path) for r in ROUTES} == really


def test_every_reference_leads_somewhere():
    """No $ref of the description is broken."""
    text = str(openapi())
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in openapi()["components"]["schemas"]


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
FEW = bounds(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# a request that fits the description may still name a film that does not exist
EXCLUDED = [positive_data_acceptance]
ASKED = [r for r in ROUTES if r.path != "/api/events"]  # that one does not end
ABOUT_FILMS = [r for r in ASKED if "film_id" in r.path and not r.path.endswith("/why")]


def named(route):
    return f"{route.method} {route.path}"


def ask(api, app, route, before=lambda _case: None):
    """A handful of requests made up from the description, right and wrong ones."""

    @FEW
    @given(case=api[route.path][route.method].as_strategy())
    def each(case):
        before(case)
        site_of(app).guard.failures.times.clear()  # wrong tokens are among what is tried
        case.call_and_validate(headers=BEARER, excluded_checks=EXCLUDED)

    each()


@pytest.mark.parametrize("route", ASKED, ids=named)
def test_answers_are_as_described(api, app, route):
    """Whatever is sent, the answer is one that the description names; never a fault of the server."""
    ask(api, app, route)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # schemathesis does not close files
@pytest.mark.parametrize("route", ABOUT_FILMS, ids=named)
def test_answers_about_a_film_are_as_described(api, app, route, tmp_path):
    """The same for a film that exists and was covered."""
    site = site_of(app)
    owner = site.guard.sign("api", TOKEN)[:32]

    def about(case):
        film = next((f for f in site.films.store.of(owner) if f.name == "ready.mp4"), None)
        case.path_parameters["film_id"] = (film or ready_film(site, owner, tmp_path)).id

    ask(api, app, route, about)
