"""Run the whole loop on this machine and look at its results. The Makefile has the commands."""

import argparse
import os
import sys
from pathlib import Path

from commands.__main__ import main as recsys
from demo.workspace import Workspace
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output
from steam_recsys.secrets import mask, register_environment


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("local"), help="the demo's folder (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="ingest, train, recommend and publish")
    containers = commands.add_parser("containers", help="run the demo, run it again in containers, and compare")
    for command in (run, containers):
        command.add_argument(
            "--data",
            type=Path,
            help="folder in the raw layout, a file with reviews, or an archive (default: synthetic)",
        )
    run.add_argument(
        "--nights",
        type=int,
        choices=(1, 2),
        default=2,
        help="1 loads all reviews at once; in 2, those of the newest weeks arrive in the second (%(default)s)",
    )
    user = commands.add_parser("user", help="show a user's recommendations, like recsys user")
    user.add_argument("user", help="name or id")
    user.add_argument("--rank-by", help="one list only: relevance, discovery, new_releases, sales, revenue, …")
    user.add_argument("--shelves", action="store_true", help="the shelves of a storefront")
    user.add_argument("--genre", help="only games of this genre")
    explorer = commands.add_parser("explore", help="look at the demo's recommendations in a browser")
    notebook = commands.add_parser("notebook", help="open copies of the notebooks of examples/ on the demo's results")
    psql = commands.add_parser("psql", help="open the demo's database")
    for command in (user, explorer, notebook, psql):
        command.add_argument(
            "--data", type=Path, help="folder in the raw layout (default: that of the last successful run)"
        )
    commands.add_parser("stop", help="stop the demo's database")
    options = parser.parse_args()
    register_environment()
    mask_output()
    workspace = Workspace(options.workspace)
    try:
        match options.command:
            case "run":
                from demo.run import run_demo, show_next_commands  # slow to import

                with workspace.lock():
                    run_demo(workspace, options.data, options.nights)
                    show_next_commands(workspace)
            case "containers":
                from demo.containers import run_demo_in_containers

                with workspace.lock():
                    run_demo_in_containers(workspace, options.data)
            case "user":
                os.environ["DATABASE_URL"] = workspace.known_database_url(options.data)
                chosen = [f"--rank-by={options.rank_by}"] if options.rank_by else []
                chosen += [f"--genre={options.genre}"] if options.genre else []
                chosen += ["--shelves"] if options.shelves else []
                recsys(["user", *chosen, "--", options.user])
            case "explore":
                from demo.explore import explore

                explore(workspace, options.data)
            case "notebook":
                from demo.notebook import open_notebooks

                open_notebooks(workspace, options.data)
            case "psql":
                workspace.open_psql(workspace.known_database_url(options.data))
            case "stop":
                print("demo: the database is stopped" if workspace.postgres.stop() else "demo: no database was running")
    except UserError as error:
        sys.exit(f"demo: {mask(str(error))}")
    except KeyboardInterrupt:
        print("demo: interrupted; run it again: it starts over, and reuses what is finished", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
