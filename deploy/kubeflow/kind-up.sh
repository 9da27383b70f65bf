#!/usr/bin/env bash
# Create a kind cluster with Kubeflow Pipelines, PostgreSQL, a store and the explorer, and load the images into it.
# Safe to repeat: existing resources are kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

# 2.15.0 is the oldest that can work; 2.17.0 does not retry failed tasks: see docs/kubeflow.md.
KFP_VERSION=2.16.1
KFP=github.com/kubeflow/pipelines/manifests/kustomize
OPTIONS="ref=$KFP_VERSION&timeout=300s" # kustomize allows 27 seconds for a clone
CORES=4                                 # training requests two; Kubernetes, Kubeflow and the rest take the others
MEMORY_GB=12

need docker "Docker Engine or Docker Desktop"
need kind "kind, from kind.sigs.k8s.io"
need kubectl "kubectl, from kubernetes.io"
need git "git, which kubectl fetches Kubeflow Pipelines with"

read -r cores memory < <(docker info --format '{{.NCPU}} {{.MemTotal}}' 2>/dev/null) || true
[[ ${cores:-} =~ ^[1-9] && ${memory:-} =~ ^[1-9] ]] || fail "Docker does not answer: start it."
if [ "$cores" -lt $CORES ] || [ "$memory" -lt $((MEMORY_GB * 1000000000)) ]; then
  fail "Docker has $cores cores and $((memory / 1000000000)) GB of memory, but $CORES cores and $MEMORY_GB GB are required, or training never starts: give it more, or use a larger machine."
fi

if ! has_cluster; then
  say "creating the cluster $CLUSTER"
  kind create cluster --config deploy/kubeflow/kind.yaml --wait 300s
fi

say "installing Kubeflow Pipelines $KFP_VERSION"
thrice cluster apply --kustomize "$KFP/cluster-scoped-resources?$OPTIONS" >/dev/null
cluster wait --for=condition=established --timeout=120s crd/applications.app.k8s.io >/dev/null
thrice cluster apply --kustomize "$KFP/env/platform-agnostic?$OPTIONS" >/dev/null

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
if ! kubeflow get secret steam-recsys >/dev/null 2>&1; then
  say "creating the secret steam-recsys"
  password=$(random)
  kubeflow create secret generic steam-recsys --from-env-file=/dev/stdin <<EOF
POSTGRES_PASSWORD=$password
DATABASE_URL=postgresql://steam:$password@steam-recsys-postgres:5432/shop
EOF
fi
if ! kubeflow get secret steam-recsys-explorer >/dev/null 2>&1; then
  say "creating the secret steam-recsys-explorer"
  password=$(random)
  kubeflow create secret generic steam-recsys-explorer --from-env-file=/dev/stdin <<EOF
EXPLORER_DATABASE_URL=postgresql://explorer:$password@steam-recsys-postgres:5432/shop
EOF
fi

images=$(.venv/bin/python -m containers tags)
names=()
while read -r role image; do
  say "loading the image of the role $role, $image"
  kind load docker-image --name "$CLUSTER" "$image"
  names+=(-e "s|image: steam-recsys-$role\$|image: $image|")
done <<<"$images"

say "starting PostgreSQL, the store, the daily freshness check and the explorer"
kubeflow delete job steam-recsys-explorer-reader --ignore-not-found >/dev/null # a Job cannot be changed
kubectl kustomize deploy/kubeflow/base | sed "${names[@]}" | cluster apply --filename=- >/dev/null

say "waiting until everything is ready"
kubeflow rollout status statefulset/steam-recsys-postgres --timeout=300s
kubeflow wait --for=condition=Ready --timeout=300s pod/steam-recsys-store
# The explorer is ready after the first publication only.
kubeflow wait --for=condition=Available --timeout=900s deployment --selector='app.kubernetes.io/part-of!=steam-recsys'
say "ready: make kind-demo"
