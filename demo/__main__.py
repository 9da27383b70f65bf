"""`python -m demo`: the whole loop on this machine, and a look at what came of it. The Makefile has the commands."""

import argparse
import os
import sys
from pathlib import Path

from commands.__main__ import main as recsys
from demo.workspace import Workspace
from steam_recsys.errors import UserError


def main() -> None:
    """Read the command line and act."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("local"), help="the demo's folder (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="ingest, train, recommend, publish")
    containers = commands.add_parser("containers", help="the same, then again in containers, and compare")
    for command in (run, containers):
        command.add_argument("--data", type=Path, help="a folder in the raw layout (synthetic reviews)")
    user = commands.add_parser("user", help="a user's recommendations: recsys user on the demo's database")
    user.add_argument("user", help="a name or an id")
    user.add_argument("--rank-by", default="relevance", help="relevance, sales, revenue, reviews or newest")
    user.add_argument("--genre", help="only games of a genre")
    explorer = commands.add_parser("explore", help="look at the demo's recommendations in a browser")
    psql = commands.add_parser("psql", help="open the demo's database")
    for command in (user, explorer, psql):
        command.add_argument(
            "--data", type=Path, help="a folder in the raw layout (that of the last run that succeeded)"
        )
    commands.add_parser("stop", help="stop the demo's database")
    options = parser.parse_args()
    place = Workspace(options.place)
    try:
        match options.command:
            case "run":
                from demo.run import run_demo  # with the pipelines: slow to import

                with place.taken():
                    run_demo(place, options.data)
            case "containers":
                from demo.containers import run_demo_in_containers

                with place.taken():
                    run_demo_in_containers(place, options.data)
            case "user":
                os.environ["DATABASE_URL"] = place.known_database_url(options.data)
                genre = [f"--genre={options.genre}"] if options.genre else []
                recsys(["user", f"--rank-by={options.rank_by}", *genre, "--", options.user])
            case "explore":
                from demo.explore import explore

                explore(place, options.data)
            case "psql":
                place.open_psql(place.known_database_url(options.data))
            case "stop":
                print("demo: the database is stopped" if place.postgres.stop() else "demo: no database was running")
    except UserError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        print("demo: interrupted; started again, it goes on from what is finished", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
