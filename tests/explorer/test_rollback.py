"""Rolling back: with the operator's token, from the explorer's own page or a program, and by nobody else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from explorer.middleware import RateLimiter
from tests.explorer.conftest import TOKEN, PublishedShop, RunningExplorer, serving
from tests.explorer.publishing_runs import promote_random_model, run_inference


@pytest.fixture
def two_nights(changing: PublishedShop) -> tuple[PublishedShop, str]:
    """A shop after two nights, and the version of the second."""
    promote_random_model(changing.store, changing.folder / "model-2", "model-2", seed=1)
    return changing, run_inference("env:EXPLORER_OPERATOR_DATABASE_URL", changing.store, changing.folder).version


@pytest.fixture
def operated(two_nights: tuple[PublishedShop, str]) -> Iterator[RunningExplorer]:
    """Its explorer, where an operator may roll back."""
    published_shop, _ = two_nights
    settings = {"operator_token": TOKEN, "operator_database_url": published_shop.url, "requests_per_second": 1e6}
    with serving(published_shop.settings(**settings)) as served:
        yield served


def roll_back(client: httpx.Client, token: str = TOKEN, **further: object) -> httpx.Response:
    return client.post(
        "/api/rollback", headers={"authorization": f"Bearer {token}", **further.pop("headers", {})}, **further
    )


def version(client: httpx.Client) -> str:
    return client.get("/api/users/1/recommendations").json()["version"]


def test_an_operator_goes_back_to_the_publication_before_and_to_a_named_one(
    two_nights: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    published_shop, second = two_nights
    assert version(operated.client) == second
    answer = roll_back(operated.client)
    assert (answer.status_code, answer.json()) == (200, {"version": published_shop.plan.version})
    assert version(operated.client) == published_shop.plan.version
    operated.wait_for_model(published_shop.plan.version)
    assert roll_back(operated.client, json={"version": second}).json() == {"version": second}
    assert version(operated.client) == second


def test_a_version_that_is_not_kept_is_refused_in_one_sentence(operated: RunningExplorer) -> None:
    answer = roll_back(operated.client, json={"version": "'; DROP TABLE recsys.publications --"})
    assert answer.status_code == 409
    assert "is not kept: choose one of" in answer.json()["detail"]
    assert roll_back(operated.client, content=b"{").status_code == 400
    for body in (b"[]", b'{"version": 5}', b'{"version": "nul\\u0000"}'):
        assert roll_back(operated.client, content=body).status_code == 422


def test_a_form_of_the_explorers_own_page_does_the_same_and_shows_the_overview(
    two_nights: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    published_shop, _ = two_nights
    own = {"origin": str(operated.client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    answer = operated.client.post("/rollback", data={"token": TOKEN, "version": ""}, headers=own)
    assert (answer.status_code, answer.headers["location"]) == (303, "/overview")
    assert version(operated.client) == published_shop.plan.version


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "tökén"])
def test_no_other_token_will_do(two_nights: tuple[PublishedShop, str], operated: RunningExplorer, token: str) -> None:
    _, second = two_nights
    headers = {"authorization": f"Bearer {token}".strip().encode()}
    assert operated.client.post("/api/rollback", headers=headers).status_code == 403
    assert operated.client.post("/rollback", data={"token": token}).status_code == 403
    assert version(operated.client) == second


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_cannot_roll_back_even_with_the_token(
    two_nights: tuple[PublishedShop, str], operated: RunningExplorer, headers: dict[str, str]
) -> None:
    assert roll_back(operated.client, headers=headers).status_code == 403
    assert operated.client.post("/rollback", data={"token": TOKEN}, headers=headers).status_code == 403
    assert version(operated.client) == two_nights[1]


def test_tokens_cannot_be_tried_one_after_the_other(operated: RunningExplorer) -> None:
    statuses = [roll_back(operated.client, f"guess {number}").status_code for number in range(8)]
    assert statuses[:5] == [403] * 5
    assert 429 in statuses[5:]


@pytest.mark.parametrize("missing", ["operator_token", "operator_database_url"])
def test_where_it_is_not_configured_nobody_can(published_shop: PublishedShop, missing: str) -> None:
    settings = {"operator_token": TOKEN, "operator_database_url": published_shop.url, missing: None}
    with serving(published_shop.settings(**settings)) as served:
        answer = roll_back(served.client)
        assert answer.status_code == 404
        assert "Rolling back is not configured" in answer.json()["detail"]
        assert roll_back(served.client, "None").status_code == 404


def test_while_versions_are_switched_nobody_sees_an_error_or_a_version_with_the_games_of_another(
    two_nights: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    operated.app.state.operator.rates = RateLimiter(per_second=0.1, burst=100)
    published_shop, second = two_nights
    users = range(1, 8)

    def answers(client: httpx.Client) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        for user in users:
            answer = client.get(f"/api/users/{user}/recommendations")
            assert answer.status_code == 200, answer.text
            yield answer.json()["version"], user, tuple(game["game_id"] for game in answer.json()["games"])

    at_rest = set()
    for wanted in (published_shop.plan.version, second):
        roll_back(operated.client, json={"version": wanted})
        at_rest |= set(answers(operated.client))
    assert len({games for _, _, games in at_rest}) == len(at_rest) == 2 * len(users)

    stop, seen = threading.Event(), set()

    def ask() -> None:
        with httpx.Client(base_url=operated.client.base_url, timeout=30) as client:
            while not stop.is_set():
                seen.update(answers(client))

    with ThreadPoolExecutor(3) as readers:
        asking = [readers.submit(ask) for _ in range(3)]
        try:
            for wanted in (published_shop.plan.version, second) * 5:
                assert roll_back(operated.client, json={"version": wanted}).status_code == 200
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert seen <= at_rest
    assert {version for version, _, _ in seen} == {published_shop.plan.version, second}
