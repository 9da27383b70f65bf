#!/usr/bin/env bash
# Forward free ports of this machine to Kubeflow Pipelines and to the explorer, until make kind-close.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

need curl "curl"
need_cluster

open_kubeflow
say "Kubeflow Pipelines: http://127.0.0.1:$port"
echo "export STEAM_RECSYS_KUBEFLOW__HOST=http://127.0.0.1:$port"
if kubeflow rollout status deployment/steam-recsys-explorer --timeout=1s >/dev/null 2>&1; then
  open_explorer
  say "the explorer: http://127.0.0.1:$port"
else
  say "the explorer is ready after the first publication: make kind-demo"
fi
