#!/usr/bin/env bash
# Run ingestion, training and inference on the kind cluster, on synthetic reviews, and print a user's recommendations.
set -euo pipefail
cd "$(dirname "$0")/../.."

CLUSTER=steam-recsys
PORT=8080
export STEAM_RECSYS_KUBEFLOW__HOST=http://127.0.0.1:$PORT

say() { echo "[kind] $*"; }
need() {
  command -v "$1" >/dev/null || {
    echo "kind-demo: $1 is not on the PATH: install $2." >&2
    exit 1
  }
}

need kind "kind, from kind.sigs.k8s.io"
need kubectl "kubectl, from kubernetes.io"
if ! kind get clusters | grep -qx "$CLUSTER"; then
  echo "kind-demo: the cluster $CLUSTER does not exist: run make kind-up first." >&2
  exit 1
fi
kubectl config use-context "kind-$CLUSTER" >/dev/null

say "copying synthetic reviews into the store"
.venv/bin/python -c "from pathlib import Path; from demo.synthetic import write_synthetic; write_synthetic(Path('local/synthetic'))"
kubectl --namespace kubeflow exec steam-recsys-store -- mkdir -p /store/raw
for file in local/synthetic/*.csv; do
  kubectl --namespace kubeflow cp "$file" "steam-recsys-store:/store/raw/$(basename "$file")"
done

kubectl --namespace kubeflow port-forward service/ml-pipeline-ui "$PORT:80" >/dev/null &
forward=$!
trap 'kill "$forward" 2>/dev/null || true' EXIT
for _ in $(seq 60); do
  if (echo >"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; then break; fi
  kill -0 "$forward" 2>/dev/null || { echo "kind-demo: port $PORT cannot be forwarded: free it." >&2; exit 1; }
  sleep 1
done

for pipeline in "ingestion --param raw=/store/raw" training inference; do
  say "pipeline ${pipeline%% *}"
  # shellcheck disable=SC2086 # a pipeline may have parameters
  .venv/bin/python compile.py --target kubeflow --submit $pipeline --wait
done

say "recommendations of user 1"
kubectl --namespace kubeflow exec statefulset/steam-recsys-postgres -- \
  psql --username=steam --dbname=shop --command="SELECT * FROM recsys.recommended_games(1)"
