#!/usr/bin/env bash
# Delete the kind cluster and everything in it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

need kind "kind, from kind.sigs.k8s.io"
for name in kubeflow explorer; do close_forward "$name"; done
kind delete cluster --name "$CLUSTER"
