#!/usr/bin/env bash
# Create a kind cluster with Kubeflow Pipelines, PostgreSQL and a store, and load the stages' images into it.
# Safe to repeat: existing resources are kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

KFP_VERSION=2.14.3
KFP=github.com/kubeflow/pipelines/manifests/kustomize
CLUSTER=steam-recsys

say() { echo "[kind] $*"; }
need() {
  command -v "$1" >/dev/null || {
    echo "kind-up: $1 is not on the PATH: install $2." >&2
    exit 1
  }
}

need docker "Docker Engine or Docker Desktop"
need kind "kind, from kind.sigs.k8s.io"
need kubectl "kubectl, from kubernetes.io"

if ! kind get clusters | grep -qx "$CLUSTER"; then
  say "creating the cluster $CLUSTER"
  kind create cluster --config deploy/kubeflow/kind.yaml --wait 300s
fi
kubectl config use-context "kind-$CLUSTER" >/dev/null

say "installing Kubeflow Pipelines $KFP_VERSION"
kubectl apply --kustomize "$KFP/cluster-scoped-resources?ref=$KFP_VERSION" >/dev/null
kubectl wait --for=condition=established --timeout=120s crd/applications.app.k8s.io >/dev/null
kubectl apply --kustomize "$KFP/env/platform-agnostic?ref=$KFP_VERSION" >/dev/null

if ! kubectl --namespace kubeflow get secret steam-recsys >/dev/null 2>&1; then
  say "creating the secret steam-recsys"
  password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
  kubectl --namespace kubeflow create secret generic steam-recsys --from-env-file=/dev/stdin <<EOF
POSTGRES_PASSWORD=$password
DATABASE_URL=postgresql://steam:$password@steam-recsys-postgres:5432/shop
EOF
fi

say "starting PostgreSQL, the store and the daily freshness check"
data_image=$(.venv/bin/python -m containers tags | sed -n 's/^data //p')
kubectl kustomize deploy/kubeflow/base | sed "s|image: steam-recsys-data$|image: $data_image|" | kubectl apply --filename=- >/dev/null

.venv/bin/python -m containers tags | while read -r role image; do
  say "loading the image of the $role stages, $image"
  kind load docker-image --name "$CLUSTER" "$image"
done

say "waiting until everything is ready"
kubectl --namespace kubeflow rollout status statefulset/steam-recsys-postgres --timeout=300s
kubectl --namespace kubeflow wait --for=condition=Ready --timeout=300s pod/steam-recsys-store
kubectl --namespace kubeflow wait --for=condition=Available --timeout=900s deployment --all
say "ready: make kind-demo"
