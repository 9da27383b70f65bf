"""Connections, and replacing a schema's functions."""

import os

import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import connect, create_schema, replace_functions
from steam_recsys.errors import UserError

ARGUMENTS = "bigint, text, text, numeric, integer, integer, integer, numeric, text, integer[]"
NAMED = """p_user_id bigint, p_rank_by text DEFAULT 'relevance', p_genre text DEFAULT NULL,
    p_max_ram_gb numeric DEFAULT NULL, p_limit integer DEFAULT 10, p_released_from integer DEFAULT NULL,
    p_released_to integer DEFAULT NULL, p_max_storage_gb numeric DEFAULT NULL, p_os text DEFAULT NULL,
    p_exclude integer[] DEFAULT NULL"""
RESULT = (
    "rank integer, game_id integer, name text, score real, taste real, popularity real, reason text, because integer, "
    "list text, version text"
)
OTHER_RESULT = "game_id integer, name text"


def message_for(url: str, monkeypatch) -> str:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(UserError) as error, connect("env:DATABASE_URL"):
        pass
    return str(error.value)


def test_an_unreachable_database_is_reported(monkeypatch):
    message = message_for("postgresql://ann:hush@127.0.0.1:1/shop", monkeypatch)
    assert message.startswith("The database in DATABASE_URL cannot be reached")
    assert "hush" not in message


def test_a_wrong_password_is_reported_without_it(database, monkeypatch):
    url = os.environ["DATABASE_URL"].replace("steam:", "steam:wrong", 1)
    message = message_for(url, monkeypatch)
    assert message == "The database in DATABASE_URL refused the user or the password: correct DATABASE_URL."


def test_a_missing_database_is_reported(database, monkeypatch):
    assert "does not exist" in message_for(os.environ["DATABASE_URL"] + "_missing", monkeypatch)


def test_an_invalid_url_is_reported(monkeypatch):
    assert "is not a PostgreSQL URL" in message_for("shop", monkeypatch)
    assert "is not a PostgreSQL URL" in message_for("postgresql://h/db?nonsense=1", monkeypatch)


def test_an_error_rolls_the_transaction_back(database, connection):
    def fail_inside():
        with connect(database) as inside:
            create_schema(inside, "steam")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regnamespace('steam')")
        assert cursor.fetchone() == (None,)


def test_creating_a_schema_twice_changes_nothing(database):
    for _ in range(2):
        with connect(database) as inside:
            create_schema(inside, "steam")


def functions(connection: Connection) -> list[tuple[str, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regprocedure::text, prosrc, pg_get_function_result(oid) FROM pg_proc "
            "WHERE pronamespace = 'recsys'::regnamespace ORDER BY 1"
        )
        return cursor.fetchall()


def replace(database: str) -> None:
    with connect(database) as inside:
        replace_functions(inside, "recsys")


@pytest.fixture
def fresh(shop: Connection) -> list[tuple[str, str, str]]:
    """The functions of a newly created schema."""
    create_schema(shop, "recsys")
    return functions(shop)


def create_older(connection: Connection, arguments: str, result: str) -> None:
    """Create a function of another version, instead of or besides the current one."""
    columns = ", ".join(f"NULL::{column.split()[1]}" for column in result.split(", "))
    with connection.cursor() as cursor:
        if arguments == NAMED:
            cursor.execute(f"DROP FUNCTION recsys.recommended_games({ARGUMENTS})")
        cursor.execute(
            f"CREATE FUNCTION recsys.recommended_games({arguments}) RETURNS TABLE ({result}) LANGUAGE sql "
            f"AS 'SELECT {columns}'"
        )


@pytest.mark.parametrize(
    ("arguments", "result"), [(NAMED, RESULT), (NAMED, OTHER_RESULT), ("p_user_id bigint", RESULT)]
)
def test_a_function_with_another_body_result_or_arguments_is_replaced(
    arguments: str, result: str, fresh: list[tuple[str, str, str]], shop: Connection, database: str
) -> None:
    create_older(shop, arguments, result)
    assert functions(shop) != fresh
    replace(database)
    assert functions(shop) == fresh
    with shop.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recsys.recommended_games(1)")
        assert cursor.fetchone() == (0,)


def test_privileges_and_dependent_objects_stay(
    fresh: list[tuple[str, str, str]], shop: Connection, database: str
) -> None:
    create_older(shop, NAMED, RESULT)
    with shop.cursor() as cursor:
        cursor.execute(f"REVOKE ALL ON FUNCTION recsys.recommended_games({ARGUMENTS}) FROM PUBLIC")
        cursor.execute("CREATE VIEW of_visitors AS SELECT name FROM recsys.recommended_games(NULL)")
        cursor.execute("CREATE FUNCTION recsys.of_the_shop() RETURNS integer LANGUAGE sql AS 'SELECT 7'")
        rights = "SELECT proacl::text FROM pg_proc WHERE proname = 'recommended_games'"
        cursor.execute(rights)
        before = cursor.fetchall()
        replace(database)
        cursor.execute(rights)
        assert cursor.fetchall() == before
        cursor.execute("SELECT recsys.of_the_shop(), (SELECT count(*) FROM of_visitors)")
        assert cursor.fetchall() == [(7, 0)]
    assert fresh[0] in functions(shop)


def test_a_function_with_another_result_keeps_its_privileges_and_all_other_functions(
    fresh: list[tuple[str, str, str]], shop: Connection, database: str
) -> None:
    create_older(shop, NAMED, OTHER_RESULT)
    role = f"website_{os.getpid()}"
    with shop.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}")
        try:
            cursor.execute("CREATE FUNCTION recsys.of_the_shop() RETURNS integer LANGUAGE sql AS 'SELECT 7'")
            cursor.execute(
                f"GRANT EXECUTE ON FUNCTION recsys.record_event, recsys.recommended_games TO {role};"
                f"REVOKE ALL ON FUNCTION recsys.recommended_games FROM PUBLIC"
            )
            cursor.execute("REVOKE ALL ON FUNCTION recsys.systems_of FROM PUBLIC")
            identity = "SELECT oid FROM pg_proc WHERE proname IN ('shelves', 'record_event') ORDER BY 1"
            cursor.execute(identity)
            others = cursor.fetchall()
            replace(database)
            cursor.execute(identity)
            assert cursor.fetchall() == others
            cursor.execute(
                "SELECT proname, has_function_privilege(%s, oid, 'EXECUTE'), proacl::text LIKE '%%{=X%%' FROM pg_proc "
                "WHERE proname IN ('record_event', 'recommended_games', 'of_the_shop') ORDER BY 1",
                [role],
            )
            assert cursor.fetchall() == [
                ("of_the_shop", True, None), ("recommended_games", True, False), ("record_event", True, False),
            ]  # fmt: skip
        finally:
            cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert set(fresh) < set(functions(shop))


def test_a_view_that_a_new_result_would_break_is_reported_and_nothing_changes(
    fresh: list[tuple[str, str, str]], shop: Connection, database: str
) -> None:
    create_older(shop, NAMED, OTHER_RESULT)
    with shop.cursor() as cursor:
        cursor.execute("CREATE VIEW of_visitors AS SELECT name FROM recsys.recommended_games(NULL)")
    before = functions(shop)
    with pytest.raises(
        UserError, match=r"takes or returns something else now \(view of_visitors depends on .*\): drop"
    ):
        replace(database)
    assert functions(shop) == before
