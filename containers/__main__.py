"""`python -m containers`: build, scan and push the images, or print their names, as `make images` and others do."""

import argparse
import sys

from components.shared.errors import UserError
from containers.images import LOCAL_REGISTRY, ROLES, build, image_name, push, pushed_before, scan, size_mb, tagged


def main() -> None:
    """Read the command line and act."""
    parser = argparse.ArgumentParser(prog="python -m containers", description="The stages' images.")
    parser.add_argument("command", choices=("build", "push", "scan", "tags"))
    parser.add_argument("--registry", default=LOCAL_REGISTRY, help="the first part of the images' names (%(default)s)")
    options, build_options = parser.parse_known_args()
    if build_options and options.command == "tags":
        parser.error(f"unrecognized arguments: {' '.join(build_options)}")
    try:
        for role in ROLES:
            if options.command == "tags":
                print(role, image_name(options.registry, role))
                continue
            if options.command == "push" and (found := pushed_before(tagged(options.registry, role))):
                print(f"[images] is in its registry already: {found}", flush=True)
                continue
            name = build(options.registry, role, build_options)
            print(f"[images] {name}: {size_mb(name):,.0f} MB", flush=True)
            if options.command == "scan":
                scan(name)
            if options.command == "push":
                print(f"[images] pushed as {push(name)}", flush=True)
    except UserError as error:
        sys.exit(f"containers: {error}")


if __name__ == "__main__":
    main()
