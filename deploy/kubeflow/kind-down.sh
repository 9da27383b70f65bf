#!/usr/bin/env bash
# Delete the kind cluster and everything in it.
set -euo pipefail

command -v kind >/dev/null || {
  echo "kind-down: kind is not on the PATH: install kind, from kind.sigs.k8s.io." >&2
  exit 1
}
kind delete cluster --name steam-recsys
