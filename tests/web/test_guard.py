"""Who gets in, who does not, and what every answer says about itself."""

import pytest

from bystander.errors import SettingsError
from bystander.web.failures import MOST, Failures
from bystander.web.guard import network
from bystander.web.settings import WebSettings
from web_site import BEARER, TOKEN, User, create_app, faked, ready_film, settings, site_of


@pytest.fixture
def make(tmp_path, monkeypatch):
    faked(monkeypatch)
    apps = []

    def made(**values):
        apps.append(create_app(settings(tmp_path / f"data{len(apps)}", **values)))
        return apps[-1]

    yield made
    for app in apps:
        site_of(app).close()


def code(answer):
    return answer.status_code, answer.json["error"]["code"]


@pytest.mark.parametrize(
    "path", ["/", "/privacy", "/nothing", "/api/films", "/api/nothing", "/static/js/api.js", "/healthz"]
)
def test_every_answer_carries_the_policy(make, path):
    """A strict content security policy and its companions are on every answer, errors as well."""
    answer = make().test_client().get(path, buffered=True)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "camera=(self)" in answer.headers["Permissions-Policy"]
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == ("no-cache" if path.startswith("/static/") else "no-store")
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5", "", "localhost@evil.example", "[::1"]
)
def test_a_foreign_name_is_refused(make, host):
    """A page that reaches loopback under a name of its own (DNS rebinding) gets nothing."""
    assert code(make().test_client().get("/api/limits", headers={"Host": host})) == (403, "bad_host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:1"])
def test_loopback_names_are_own(make, host):
    """The names of this machine itself are answered."""
    assert make().test_client().get("/api/limits", headers={"Host": host}).status_code == 200


def test_bound_elsewhere_only_numbers_and_allowed_names_are_own(make):
    """A number cannot be a name from elsewhere; names must have been allowed."""
    http = make(host="0.0.0.0", token=TOKEN, hosts=frozenset({"films.example"})).test_client()
    for host, status in (("10.1.2.3:8080", 200), ("films.example", 200), ("evil.example", 403)):
        assert http.get("/healthz", headers={"Host": host}).status_code == status


def test_reachable_from_elsewhere_needs_a_token():
    """Nobody can start it open to others, or with a token that is guessed in no time."""
    for values in ({"host": "0.0.0.0"}, {"token": "short"}, {"token": "with blank in it"}):
        with pytest.raises(SettingsError):
            WebSettings(**values)


def test_without_the_token_there_is_nothing(make):
    """Pages lead to the login, everything else says 401; films and streams do not even look whether they exist."""
    app = make(token=TOKEN)
    http = app.test_client()
    assert http.get("/").headers["Location"] == "/login"
    for path in ("/api/films", "/api/films/x", "/api/limits", "/api/openapi.json", "/api/events", "/metrics"):
        assert code(http.get(path)) == (401, "no_token")
    for path in ("/whip/name", "/whep/name"):
        assert http.post(path, data="v=0", content_type="application/sdp").status_code == 401
    assert http.get("/login").status_code == 200
    assert http.get("/static/js/api.js", buffered=True).status_code == 200


def test_a_wrong_token_is_told_and_soon_no_longer_tried(make):
    """After some wrong tokens a client has to wait, even with the right one."""
    http = make(token=TOKEN).test_client()
    for _ in range(MOST):
        assert code(http.get("/api/films", headers={"Authorization": "Bearer wrong"})) == (401, "bad_token")
    answer = http.get("/api/films", headers=BEARER)
    assert code(answer) == (429, "too_many_tries")
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    other = http.get("/api/films", headers=BEARER, environ_base={"REMOTE_ADDR": "10.0.0.9"})
    assert other.status_code == 200  # somebody else has not tried anything


def test_failures_are_forgotten_in_time():
    """The wait ends, and memory does not grow with the number of clients."""
    now = [0.0]
    failures = Failures(lambda: now[0])
    for i in range(20_000):
        failures.add(f"client{i}")
    assert len(failures.times) <= 10_000
    for _ in range(MOST):
        failures.add("a")
    assert failures.wait_s("a") == 60
    now[0] = 60.5
    assert failures.wait_s("a") == 0


def test_the_printed_address_lets_in_and_loses_its_token(make):
    """?token= becomes a cookie at once, and the address that stays has no token."""
    http = make(token=TOKEN).test_client()
    answer = http.get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert http.get("/").status_code == 200
    assert http.get("/api/films").status_code == 200
    wrong = make(token=TOKEN).test_client().get("/?token=wrong", headers={"Accept": "text/html"})
    assert wrong.status_code == 401
    assert wrong.mimetype == "text/html"


def test_the_login_form(make):
    """A wrong token shows the form again; the right one lets in; a form from elsewhere does nothing."""
    app = make(token=TOKEN)
    user = User(app)
    page = user.get("/login").text
    secret = page.partition('name="csrf-token" content="')[2].partition('"')[0]
    assert user.http.post("/login", data={"token": TOKEN}).status_code == 403
    assert user.http.post("/login", data={"token": "wrong", "csrf_token": secret}).status_code == 401
    assert user.http.post("/login", data={"token": TOKEN, "csrf_token": secret}).headers["Location"] == "/"
    assert user.get("/api/films").status_code == 200


def test_a_login_form_that_is_out_of_date_comes_again(make):
    """Another tab may have logged in meanwhile; a person gets the form with a sentence, not a program's answer."""
    user = User(make(token=TOKEN))
    user.get("/login")
    page = {"Accept": "text/html", "Accept-Language": "de"}
    answer = user.http.post("/login", data={"token": TOKEN, "csrf_token": "old"}, headers=page)
    assert (answer.status_code, answer.mimetype) == (403, "text/html")
    assert "Diese Seite ist veraltet" in answer.text
    secret = answer.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    assert user.http.post("/login", data={"token": TOKEN, "csrf_token": secret}).status_code == 303


def test_cookies_are_marked_secure_over_https(make):
    """With HTTPS no cookie ever goes out in clear."""
    http = make(token=TOKEN, https=True).test_client()
    assert "Secure" in http.get(f"/?token={TOKEN}").headers["Set-Cookie"]
    assert "Secure" in http.get("/").headers["Set-Cookie"]


def test_a_change_needs_the_pages_secret(make):
    """Without it, with another user's, or from another site's page nothing is changed."""
    app = make()
    one, other = User(app), User(app)
    film = {"name": "a.mp4", "size": 5}
    assert code(one.http.post("/api/films", json=film)) == (403, "bad_csrf")
    assert code(one.http.post("/api/films", json=film, headers={"X-Bystander-CSRF": other.csrf})) == (403, "bad_csrf")
    foreign = {"X-Bystander-CSRF": one.csrf, "Origin": "https://evil.example"}
    assert code(one.http.post("/api/films", json=film, headers=foreign)) == (403, "bad_origin")
    assert one.post("/api/films", film, headers={"Origin": "http://localhost"}).status_code == 201


def test_without_a_session_there_is_nothing(make):
    """No cookie, or one that was made up, owns nothing."""
    app = make()
    http = app.test_client()
    assert code(http.get("/api/films")) == (401, "no_session")
    http.set_cookie("bystander_owner", "somebody.0000")
    assert code(http.get("/api/films")) == (401, "no_session")
    assert http.get("/api/limits").status_code == 200


def test_a_program_with_the_token_needs_no_secret(make):
    """Bearer requests carry no cookie, so no other site can make them; they are one owner."""
    http = make(token=TOKEN).test_client()
    assert http.post("/api/films", json={"name": "a.mp4", "size": 5}, headers=BEARER).status_code == 201
    assert len(http.get("/api/films", headers=BEARER).json["films"]) == 1
    assert "Set-Cookie" not in http.get("/api/films", headers=BEARER).headers


def test_a_publisher_on_loopback_is_not_another_sites_page(make):
    """Where no token is needed a page from elsewhere still cannot publish."""
    http = make().test_client()
    answer = http.post(
        "/whip/a", data="v=0", content_type="application/sdp", headers={"Origin": "https://evil.example"}
    )
    assert code(answer) == (403, "bad_origin")


def test_two_users_never_see_each_others_films(make, tmp_path):
    """Every address of somebody else's film answers as if there were none, and so does their list."""
    from bystander.web.openapi import ROUTES

    app = make()
    one, other = User(app), User(app)
    owner = one.announce(5).json
    film = ready_film(site_of(app), next(iter(site_of(app).films.store.films.values())).owner, tmp_path)
    assert one.get(f"/api/films/{film.id}/people").status_code == 200
    for route in (r for r in ROUTES if "film_id" in r.path):
        path = route.path.format(film_id=film.id, person=1, kind="film")
        query = "?from=0&to=1" if route.query else ""
        theirs = other.send(route.method.upper(), path + query, {"Upload-Offset": "0"})
        nobodys = other.send(route.method.upper(), path.replace(film.id, "0" * 32) + query, {"Upload-Offset": "0"})
        assert theirs.status_code == nobodys.status_code == 404, route
        assert theirs.data == nobodys.data
    assert other.get("/api/films").json == {"films": []}
    assert {f["id"] for f in one.get("/api/films").json["films"]} == {owner["id"], film.id}


@pytest.mark.parametrize(
    "path", ["/static/", "/static/js/", "/static/../app.py", "/static/%2e%2e/app.py", "/data", "/films/"]
)
def test_no_folder_is_listed(make, path):
    """Folders and what lies outside of the page's own files are not there."""
    assert make().test_client().get(path).status_code == 404


@pytest.mark.parametrize("origin", ["http://[", "null", "x" * 5000, "", "http://127.0.0.1.evil.example"])
def test_an_origin_that_makes_no_sense_is_a_foreign_one(make, origin):
    """It is refused, and is no fault of the server."""
    answer = User(make()).post("/api/films", headers={"Origin": origin})
    assert code(answer) == (403, "bad_origin")


DEEP = (b"[" * 200_000, b'{"a":' * 15_000)
POSTS = ("/api/films", "/api/live", "/api/live/x/say", "/api/watch/choices", "/api/watch/panic", "/whip/a", "/whep/a")


@pytest.mark.parametrize("path", POSTS)
def test_no_body_is_a_fault_of_the_server(make, path):
    """Deep, broken and unfit JSON is refused with a code of its own, whatever it is said to be."""
    user = User(make(watch="http://127.0.0.1:9"))
    for data in (
        *DEEP,
        b"",
        b"null",
        b"[]",
        b'{"sdp":NaN,"settings":1}',
        b"\xff",
        b"9" * 6000,
        b'{"size":1e999,"name":[]}',
    ):
        for kind in ("application/json", "application/sdp", "text/plain"):
            answer = user.send("POST", path, data=data, content_type=kind)
            assert answer.status_code in {400, 404, 413, 415, 422, 502}, (data[:30], kind)
            assert answer.json["error"]["code"] != "fault"


@pytest.mark.parametrize(("word", "status"), [("Bearer", 200), ("bearer", 200), ("Basic", 401), ("", 200)])
def test_the_token_in_a_header(make, word, status):
    """Programs write the scheme as they like; another scheme is wrong."""
    http = make(token=TOKEN).test_client()
    assert http.get("/api/films", headers={"Authorization": f"{word} {TOKEN}"}).status_code == status


def test_who_logs_in_for_the_first_time_gets_another_session(make):
    """A session that somebody planted before the login is not the one that films belong to; later logins keep it."""
    http = make(token=TOKEN).test_client()
    http.get("/login")
    planted = http.get_cookie("bystander_owner").value
    http.get(f"/?token={TOKEN}", follow_redirects=True)
    owner = http.get_cookie("bystander_owner").value
    assert owner != planted
    http.set_cookie("bystander_login", "of a token of before")
    http.get(f"/?token={TOKEN}", follow_redirects=True)
    assert http.get_cookie("bystander_owner").value == owner


def test_wrong_tokens_of_one_network_are_counted_together():
    """An IPv6 user has 2**64 addresses and gets ten tries for all of them."""
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2::9") != network("2001:db8:1:3::9")
    assert network("192.168.1.5") != network("192.168.1.6")
    assert network("::ffff:10.0.0.1") != network("::ffff:10.0.0.2")
    assert network("") == ""


def test_films_and_faces_stay_out_of_the_browsers_cache(make, tmp_path):
    """What shows people is never stored by the browser, parts of it neither."""
    app = make()
    user = User(app)
    user.announce(5)
    film = ready_film(site_of(app), next(iter(site_of(app).films.store.films.values())).owner, tmp_path)
    for name in ("media/original.mp4", "media/covered.mp4", "media/thumb/1.jpg", "download/film", "download/tracks"):
        for headers in ({}, {"Range": "bytes=0-3"}):
            answer = user.get(f"/api/films/{film.id}/{name}", headers=headers)
            assert answer.status_code == (206 if headers else 200)
            assert answer.headers["Cache-Control"] == "no-store"
