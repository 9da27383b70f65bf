"""Headers and limits of every response, and hostile input."""

import asyncio
import logging
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.explore import reader_url
from demo.postgres import EmbeddedPostgres
from explorer import middleware, server
from explorer.headers import HEADERS
from explorer.middleware import MOST_CLIENTS, RateLimiter, client_of
from explorer.settings import Settings
from tests.components.reverse_etl.predicted import overall, publish_version, write_predictions
from tests.explorer.conftest import PASSWORD, TOKEN, PublishedShop, RunningExplorer, routes, serving, wait_until
from tests.explorer.payloads import PAYLOADS
from tests.shop import add_game, add_review, add_user

PATHS = [
    "/",
    "/api",
    "/api/openapi.json",
    "/api/v1/users/1",
    "/healthz",
    "/readyz",
    "/metrics",
    "/nothing",
    "/api/v1/nothing",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_response_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", [*PATHS, "/static/explorer.css", "/api/v1/users/1/recommendations", "/api/v1/users/x"])
def test_head_returns_what_get_returns_without_the_body(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    moving = {"date", "content-length"} if path in ("/", "/metrics") else {"date"}
    assert {name: value for name, value in head.headers.items() if name not in moving} == {
        name: value for name, value in got.headers.items() if name not in moving
    }


def test_head_is_not_allowed_without_get(client: httpx.Client) -> None:
    for path, allowed in (("/api/v1/recommend", "POST"), ("/rollback", "POST")):
        answer = client.head(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert client.put("/api/v1/users/1").headers["allow"] == "GET, HEAD"


def test_no_response_redirects_to_the_requests_host(client: httpx.Client) -> None:
    for path in ("/users/1/", "/overview/", "/api/v1/users/1/", "/static"):
        answer = client.get(path, headers={"host": "elsewhere.example"})
        assert answer.status_code == 404
        assert "elsewhere.example" not in answer.text + str(answer.headers)


def test_an_internal_error_hides_its_cause_and_has_the_headers(
    published_shop: PublishedShop, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(published_shop.settings()) as served:

        async def broken(*arguments: object) -> None:
            raise RuntimeError("the secret of the broken part")

        served.app.state.repository.user = served.app.state.repository.find_users = broken
        answer = served.client.get("/api/v1/users/1")
        page = served.client.get("/nothing/at/all")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "Something went wrong: see the explorer's log."
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
    assert "the secret of the broken part" in caplog.text  # the log is for operators
    assert page.status_code == 404


def test_a_too_large_body_is_refused_before_it_has_arrived(client: httpx.Client) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 1 << 16
            yield b" " * (1 << 16)

    for content in (b" " * ((1 << 16) + 1), chunks()):
        try:
            answer = client.post("/api/v1/recommend", content=content)
        except (httpx.WriteError, httpx.RemoteProtocolError):
            continue  # the server had hung up already
        assert answer.status_code == 413
        assert answer.json()["detail"] == "The body is larger than 65536 bytes: send less."
    assert sent < 1_000 << 16


def test_a_slow_body_is_refused(published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.5)
    with serving(published_shop.settings(store=None)) as served:
        url = served.client.base_url
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(b"POST /api/v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n")
            connection.settimeout(0.05)
            answer = b""
            for _ in range(100):
                connection.sendall(b" ")
                with suppress(TimeoutError):
                    answer = connection.recv(1 << 12)
                    break
    assert answer.startswith(b"HTTP/1.1 408 ")


def drip(connection: socket.socket, drop: bytes, times: int = 200) -> bytes:
    """Send a byte every 50 ms until the connection is closed or answers, and return the answer."""
    connection.settimeout(0.05)
    for _ in range(times):
        try:
            connection.sendall(drop)
            return connection.recv(1 << 12)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("the connection is still open")


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: ", b"x"),
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\nContent-Length: 9999\r\n\r\n", b"x"),  # is answered at once
    ],
)
def test_a_connection_without_a_complete_head_is_closed(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, begin: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    with serving(published_shop.settings(store=None)) as served:
        url = served.client.base_url
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(begin)
            if begin.endswith(b"\r\n\r\n"):
                assert connection.recv(1 << 12).startswith(b"HTTP/1.1 200 ")
            assert drip(connection, drop) == b""


def test_a_complete_head_ends_the_timer(published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with serving(published_shop.settings(store=None)) as served:
        url = served.client.base_url
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(b"POST /api/v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: 20\r\n\r\n")
            assert drip(connection, b" ").startswith(b"HTTP/1.1 400 ")


def test_a_client_that_hangs_up_is_not_logged_as_an_error(
    published_shop: PublishedShop, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(published_shop.settings(store=None)) as served:
        url = served.client.base_url
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(b"POST /api/v1/recommend HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{")
        counted = 'http_requests_total{route="/api/v1/recommend",status="0xx"} 1.0'
        wait_until(lambda: counted in served.client.get("/metrics").text)
    assert caplog.text == ""


@contextmanager
def connected(served: RunningExplorer) -> Iterator[socket.socket]:
    """Connect to an explorer."""
    url = served.client.base_url
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        yield connection


def received(connection: socket.socket) -> bytes:
    """Return all that arrives until the server closes the connection."""
    found = b""
    with suppress(ConnectionResetError):  # it has requests that it did not read
        while part := connection.recv(1 << 16):
            found += part
    return found


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api HTTP/1.1\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here\r\nHost: here\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here\r\nhost: there\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: here\r\nHost: here\r\n", 400),
        (b"GET /api HTTP/1.0\r\nHost: here\r\nHost: here\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here there\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: me@here\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here/there\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here:port\r\n", 400),
        (b"POST /api/v1/recommend HTTP/1.1\r\nContent-Length: 2\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost: here.example.org:8600\r\n", 200),
        (b"GET /api HTTP/1.1\r\nHost: [2001:db8::1]:8600\r\n", 200),
        (b"GET /api HTTP/1.1\r\nHost:\r\n", 200),
        (b"GET /api HTTP/1.0\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n", 200),
    ],
)
def test_a_request_must_have_one_valid_host(served: RunningExplorer, head: bytes, status: int) -> None:
    with connected(served) as connection:
        connection.sendall(head + b"Connection: close\r\n\r\n{}")
        answer = received(connection)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.lower().count(b"http/1.1 ") == 1
    assert (b"must have one Host header" in answer) == (status == 400)
    assert b"content-security-policy" in answer


def test_the_code_of_a_wrong_host_is_not_that_of_a_wrong_body(served: RunningExplorer) -> None:
    with connected(served) as connection:
        connection.sendall(b"POST /api/v1/recommend HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        assert b'"code":"bad_request"' in received(connection)


def test_a_client_over_its_rate_is_hung_up_on(published_shop: PublishedShop) -> None:
    with (
        serving(published_shop.settings(store=None, requests_per_second=0.001)) as served,
        connected(served) as connection,
    ):
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: here\r\n\r\n" * 10)
        answers = received(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"404", b"429"]
    assert b"connection: close" in answers[answers.index(b"HTTP/1.1 429") :]


def test_some_pipelined_requests_are_answered_and_a_flood_is_hung_up_on(served: RunningExplorer) -> None:
    with connected(served) as connection:
        connection.sendall(b"GET /api/v1/nothing HTTP/1.1\r\nHost: here\r\n\r\n" * 10)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 (\d+)", received(connection)) == [b"404"] * 10 + [b"200"]
    with connected(served) as connection:
        connection.sendall(b"GET /api/v1/nothing HTTP/1.1\r\nHost: here\r\n\r\n" * 1_000)
        answers = received(connection)
    assert server.MOST_PIPELINED <= answers.count(b"HTTP/1.1 404") < 500
    assert b"connection: close" in answers[answers.rindex(b"HTTP/1.1 404") :]


def test_requests_before_a_malformed_one_are_answered_first(served: RunningExplorer) -> None:
    with connected(served) as connection:
        connection.sendall(b"GET /api/v1/nothing HTTP/1.1\r\nHost: here\r\n\r\n" * 2 + b"nonsense\r\n\r\n")
        assert re.findall(rb"HTTP/1.1 (\d+)", received(connection)) == [b"404"] * 2
    with connected(served) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 400 ")


def test_liveness_is_answered_while_the_application_answers_nothing(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None)) as served:
        stack, waiting, released = served.app.middleware_stack, threading.Event(), threading.Event()

        async def stuck(*arguments: object) -> None:
            waiting.set()
            while not released.is_set():
                await asyncio.sleep(0.01)

        served.app.middleware_stack = stuck
        with connected(served) as connection:
            connection.sendall(b"GET /api HTTP/1.1\r\nHost: here\r\n\r\n")
            assert waiting.wait(60)
            alive = served.client.get("/healthz")
            assert served.client.head("/healthz").status_code == 200
            released.set()
        served.app.middleware_stack = stack
    assert (alive.status_code, alive.text) == (200, "ok\n")


def send_until_closed(connection: socket.socket, requests: bytes, times: int = 2_000) -> None:
    """Send requests every 20 ms, and read no answer, until the connection is reset."""
    with suppress(ConnectionError):
        for _ in range(times):
            connection.sendall(requests)
            time.sleep(0.02)
        raise AssertionError("the connection is still open")


def test_liveness_has_only_get_and_head(client: httpx.Client) -> None:
    assert client.post("/healthz").status_code == 404


def test_a_client_that_reads_nothing_is_hung_up_on(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.5)
    settings = published_shop.settings(store=None, requests_per_second=1e6)
    with serving(settings) as served, connected(served) as connection:
        send_until_closed(connection, b"GET /static/explorer.css HTTP/1.1\r\nHost: here\r\n\r\n" * 8)


def test_clients_that_leave_in_the_middle_are_not_logged(
    published_shop: PublishedShop, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(published_shop.settings(store=None, requests_per_second=1e6)) as served:
        for path in (b"/", b"/api/v1/users/1", b"/static/explorer.css", b"/healthz") * 10:
            with connected(served) as connection:
                connection.sendall(b"GET %b HTTP/1.1\r\nHost: here\r\n\r\n" % path * 15)
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets
        assert served.client.get("/readyz").status_code == 200
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_rates_are_limited_per_client(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(requests_per_second=1.0, trusted_proxies="127.0.0.1")) as served:
        statuses = [served.client.get("/nothing").status_code for _ in range(6)]
        assert statuses[:2] == [404, 404]
        assert 429 in statuses
        other = {"x-forwarded-for": "198.51.100.9, 192.0.2.1"}  # the proxy adds the last one itself
        assert [served.client.get("/nothing", headers=other).status_code for _ in range(2)] == [404, 404]
        forged = [
            served.client.get("/nothing", headers={"x-forwarded-for": f"198.51.100.{number}, 192.0.2.1"}).status_code
            for number in range(6)
        ]
        assert 429 in forged
        refused = next(answer for answer in iter(lambda: served.client.get("/api/v1/users/1"), None) if answer.is_error)
        assert refused.json()["detail"] == "Too many requests. Try again in one second."
        assert refused.headers["retry-after"] == "1"
        assert [served.client.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(9)].count(
            429
        ) == 0


def test_the_lowest_rate_allows_one_request(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(store=None, requests_per_second=0.01)) as served:
        assert [served.client.get("/api").status_code for _ in range(2)] == [200, 429]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2)), max_size=60))
def test_no_client_exceeds_its_rate(requests: list[tuple[str, float]]) -> None:
    rates, now = RateLimiter(per_second=2, burst=3), 0.0
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for client, pause in requests:
        now += pause
        if rates.allows(client, now):
            allowed[client].append(now)
    for times in allowed.values():
        for start in range(len(times)):
            for end in range(start, len(times)):
                assert end - start + 1 <= 3 + 2 * (times[end] - times[start]) + 1e-6


def test_the_number_of_remembered_clients_is_limited() -> None:
    rates = RateLimiter(per_second=0.001, burst=1)
    for number in range(2 * MOST_CLIENTS):
        assert rates.allows(f"client {number}", 0.0)
        assert rates.allows("a regular", number * 2000.0)
    assert len(rates._clients) == MOST_CLIENTS


def test_one_ipv6_network_is_one_client() -> None:
    def client(host: str | None) -> str:
        return client_of({"type": "http", "client": host and (host, 1)})

    assert client("2001:db8:1:2::1") == client("2001:db8:1:2:ffff::9") != client("2001:db8:1:3::1")
    assert client("192.0.2.1") != client("192.0.2.2")
    assert client("fe80::1%eth0") == client("fe80::2")
    assert client("::ffff:192.0.2.1") == client("192.0.2.1")  # as dual-stack proxies write it
    assert client(None) == ""


def test_without_trusted_proxies_the_client_is_the_connecting_address(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings(requests_per_second=1.0)) as served:
        statuses = [
            served.client.get("/nothing", headers={"x-forwarded-for": f"192.0.2.{number}"}).status_code
            for number in range(8)
        ]
    assert 429 in statuses


@pytest.fixture(scope="module")
def hostile(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningExplorer, str]]:
    """The explorer of a shop in which all names are hostile, and the URL of its database."""
    url = postgres.ensure_database(f"hostile_{secrets.token_hex(6)}")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE_URL", url)
        from steam_recsys.database.connection import create_schema

        create_schema(connection, "steam")
        games = [add_game(connection, name, genres=[name]) for name in PAYLOADS]
        users = [add_user(connection, name) for name in PAYLOADS]
        rows = [(user, [game for game in games if game != own], [1.0] * (len(games) - 1), [own] * (len(games) - 1))
                for user, own in zip(users, games, strict=True)]  # fmt: skip
        for user, game in zip(users, games, strict=True):
            add_review(connection, user, game)
        folder = write_predictions(tmp_path_factory.mktemp("hostile") / "p", [rows], overall(games))
        publish_version("env:HOSTILE_URL", folder)
    connection.close()
    settings = Settings(database_url=reader_url(url, PASSWORD), requests_per_second=1e6)
    with serving(settings) as served:
        yield served, url


def rows_of(url: str) -> list[int]:
    """Count the rows that an injected statement would change."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM steam.users), (SELECT count(*) FROM steam.games), "
            "(SELECT count(*) FROM steam.reviews), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_roles)"
        )
        rows = list(cursor.fetchone())
    connection.close()
    return rows


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_names_are_found_and_returned_unchanged(hostile: tuple[RunningExplorer, str], payload: str) -> None:
    served, url = hostile
    before = rows_of(url)
    number = PAYLOADS.index(payload) + 1
    found = served.client.get("/api/v1/users", params={"q": payload, "limit": 100}).json()["users"]
    assert [user["username"] for user in found if user["user_id"] == number] == [payload]
    games = served.client.get("/api/v1/games", params={"q": payload, "limit": 100}).json()["games"]
    assert (number, payload) in {(game["game_id"], game["name"]) for game in games}
    answer = served.client.get(f"/api/v1/users/{number}/recommendations", params={"genre": payload, "limit": 100})
    assert {game["name"] for game in answer.json()["games"]} <= {payload}
    answer = served.client.get(f"/api/v1/users/{number}/recommendations", params={"limit": 100})
    reasons = [game["reason"] for game in answer.json()["games"]]
    assert reasons == 2 * [f"because you liked {payload}"] + ["popular now"] * (len(PAYLOADS) - 3)
    assert {game["name"] for game in answer.json()["games"]} == {*PAYLOADS} - {payload}
    assert answer.headers["content-type"] == "application/json"
    assert rows_of(url) == before


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_parameters_change_no_query_and_add_no_markup(
    hostile: tuple[RunningExplorer, str], payload: str
) -> None:
    served, url = hostile
    before = rows_of(url)
    paths = (
        "/api/v1/users",
        "/api/v1/games",
        "/api/v1/users/1/recommendations",
        "/users",
        "/games",
        "/nothing",
        "/try",
    )
    for path in paths:
        for name in ("q", "genre", "rank_by", "limit", "os", "max_ram_gb", "released_from", "games", payload):
            answer = served.client.get(path, params={name: payload})
            assert answer.status_code < 500
            if answer.headers["content-type"].startswith("text/html"):
                assert not re.search(r"<script>alert|<img src=x|<svg/onload|onmouseover='alert", answer.text)
                assert "49" not in re.findall(r"value=\"(\d+)", answer.text)
    path = "/api/v1/users/" + httpx.QueryParams({"": payload}).__str__()[1:].replace("+", "%20")
    assert 400 <= served.client.get(path).status_code < 500
    assert rows_of(url) == before


def test_responses_logs_and_settings_show_no_secrets(
    published_shop: PublishedShop, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = f"postgresql://explorer:{PASSWORD.replace(' ', '-')}@127.0.0.1:1/nothing"
    settings = Settings(
        database_url=wrong, operator_database_url=wrong, operator_token=TOKEN, store=published_shop.store
    )
    shown = [repr(settings), str(settings)]
    with serving(settings) as served:
        for path in (*PATHS, "/api/v1/users/1/recommendations"):
            answer = served.client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
            shown += [answer.text, str(answer.headers)]
        answer = served.client.post("/api/v1/rollback", headers={"authorization": f"Bearer {TOKEN}"})
        shown += [answer.text, str(answer.headers)]
    printed = capfd.readouterr()
    for text in (*shown, caplog.text, printed.out, printed.err):
        assert TOKEN not in text
        assert PASSWORD.replace(" ", "-") not in text


def test_only_rollback_writes() -> None:
    not_got = {(method, route.path) for route in routes() for method in route.methods - {"GET"}}
    assert not_got == {("POST", "/api/v1/recommend"), ("POST", "/api/v1/rollback"), ("POST", "/rollback")}
