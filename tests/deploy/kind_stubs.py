"""A copy of the scripts for kind with stub programs instead of docker, kind, kubectl and the virtual environment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubeflow"
SYSTEM = (
    *("bash", "basename", "cat", "curl", "dirname", "env", "grep", "head", "mkdir", "nohup", "od", "ps", "rm", "sed"),
    *("seq", "tail", "tr"),
)

STUB = '''#!{python}
"""Records its call and behaves as the scenario says."""
import http.server, json, os, sys, time
from pathlib import Path

name, arguments, folder = Path(sys.argv[0]).name, sys.argv[1:], Path({folder!r})
line = " ".join([name, *arguments])
scenario = json.loads((folder / "scenario.json").read_text())
reads = arguments[-1:] == ["--filename=-"] or "--from-env-file=/dev/stdin" in arguments
given = sys.stdin.read() if reads else ""
host = os.environ.get("STEAM_RECSYS_KUBEFLOW__HOST")
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps({{"line": line, "stdin": given, "host": host}}) + "\\n")
for rule in scenario:
    if rule["match"] in line and rule.get("times", 1) > 0:
        if "times" in rule:
            rule["times"] -= 1
            (folder / "scenario.json").write_text(json.dumps(scenario))
        print(rule.get("prints", ""), end="")
        if "status" in rule:
            if rule["status"]:
                print(rule.get("error", "error: a stub's failure"), file=sys.stderr)
            sys.exit(rule["status"])
        break
if "port-forward" in arguments:
    answers = {{"/apis/v2beta1/healthz": '{{"multi_user":false}}', "/healthz": "ok\\n"}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = answers.get(self.path)
            self.send_response(200 if text else 404)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_):
            pass

    port, _, remote = arguments[-1].partition(":")
    try:
        server = http.server.HTTPServer(("127.0.0.1", int(port)), Handler)
    except OSError as error:
        sys.exit(f"error: unable to listen on any of the requested ports: [{{{{{{port}} {{remote}}}}}}]: {{error}}")
    print(f"Forwarding from 127.0.0.1:{{port}} -> {{remote}}", flush=True)
    server.serve_forever()
'''

SLEEP = """#!{bash}
# Long pauses are skipped.
case "$1" in 0.*) exec {sleep} "$1" ;; esac
"""


@dataclass
class Kind:
    """The scripts in a folder of their own, and what they called."""

    root: Path
    _scenario: list[dict[str, Any]] = field(default_factory=list)

    def when(self, match: str, **answer: Any) -> None:
        """Answer calls that contain a text: `prints`, `status` with `error`, `times` often; the last rule wins."""
        self._scenario.insert(0, {"match": match, **answer})
        (self.root / "scenario.json").write_text(json.dumps(self._scenario))

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return subprocess.run(
            [str(self.root / "deploy" / "kubeflow" / f"{script}.sh")],
            env={"PATH": str(self.root / "bin"), "HOME": str(self.root)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What was called, in order: `line`, `stdin` and `host`, the address of the API in the environment."""
        path = self.root / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def lines(self, *parts: str) -> list[str]:
        """Return the calls that contain all parts."""
        return [call["line"] for call in self.calls if all(part in call["line"] for part in parts)]

    def open_port(self, name: str) -> int:
        """Return the port that a script left open."""
        return int((self.root / "local" / "kind" / name).read_text().split()[1])

    def close(self) -> None:
        """End the port-forwards that a test left open."""
        for path in (self.root / "local" / "kind").glob("*"):
            if path.suffix == "":
                with suppress(ProcessLookupError):
                    os.kill(int(path.read_text().split()[0]), signal.SIGKILL)


def stubbed(root: Path) -> Kind:
    """Return the scripts with the stubs, on a machine that is large enough and has the cluster."""
    (root / "deploy").mkdir()
    shutil.copytree(DEPLOY, root / "deploy" / "kubeflow")
    programs = root / "bin"
    programs.mkdir()
    for name in SYSTEM:
        (programs / name).symlink_to(str(shutil.which(name)))
    (root / ".venv" / "bin").mkdir(parents=True)
    stub = STUB.format(python=sys.executable, folder=str(root))
    for path in [
        *(programs / name for name in ("docker", "kind", "kubectl", "git")),
        root / ".venv" / "bin" / "python",
    ]:
        path.write_text(stub)
        path.chmod(0o755)
    (programs / "sleep").write_text(SLEEP.format(bash=shutil.which("bash"), sleep=shutil.which("sleep")))
    (programs / "sleep").chmod(0o755)
    (root / "local" / "synthetic").mkdir(parents=True)
    (root / "local" / "synthetic" / "games.csv").write_text("app_id\n")
    kind = Kind(root)
    kind.when("docker info", prints="4 16770000000\n", status=0)
    kind.when("kind get clusters", prints="steam-recsys\n", status=0)
    kind.when("containers tags", prints="data localhost/d:1\nmodel localhost/m:2\nexplorer localhost/e:3\n", status=0)
    manifests = "".join(path.read_text() + "---\n" for path in (DEPLOY / "base").glob("*er*.yaml"))
    kind.when("kustomize deploy/kubeflow/base", prints=manifests, status=0)
    return kind
