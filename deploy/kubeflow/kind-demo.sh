#!/usr/bin/env bash
# Run ingestion, training and inference on the kind cluster, on synthetic reviews, and print a user's recommendations.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

need curl "curl"
need_cluster

say "copying synthetic reviews into the store"
.venv/bin/python -c "from pathlib import Path; from demo.synthetic import write_synthetic; write_synthetic(Path('local/synthetic'))"
kubeflow exec steam-recsys-store -- mkdir -p /store/raw
for file in local/synthetic/*.csv; do
  kubeflow cp "$file" "steam-recsys-store:/store/raw/$(basename "$file")"
done

open_kubeflow
host=http://127.0.0.1:$port
export STEAM_RECSYS_KUBEFLOW__HOST=$host
say "Kubeflow Pipelines: $host"
for pipeline in "ingestion --param raw=/store/raw" training inference; do
  say "pipeline ${pipeline%% *}"
  # shellcheck disable=SC2086 # a pipeline may have parameters
  .venv/bin/python compile.py --target kubeflow --submit $pipeline --wait
done

say "recommendations of user 1"
kubeflow exec statefulset/steam-recsys-postgres -- \
  psql --username=steam --dbname=shop --command="SELECT * FROM recsys.recommended_games(1)"

say "waiting for the explorer"
kubeflow wait --for=condition=Complete --timeout=180s job/steam-recsys-explorer-reader
kubeflow rollout status deployment/steam-recsys-explorer --timeout=300s
open_explorer
say "the explorer: http://127.0.0.1:$port"
say "the runs: $host; both stay open until make kind-close, and make kind-open opens them again"
