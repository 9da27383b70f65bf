# What the kind-*.sh scripts share; they source it in the repository's folder.
# shellcheck shell=bash

CLUSTER=steam-recsys
FORWARDS=local/kind # a file per open port: the process of kubectl and the port
LAST_PORT_AFTER=20

fail() {
  local script=${0##*/}
  echo "${script%.sh}: $*" >&2
  exit 1
}

say() { echo "[kind] $*"; }

need() { command -v "$1" >/dev/null || fail "$1 is not on the PATH: install $2."; }

has_cluster() { kind get clusters 2>/dev/null | grep -x "$CLUSTER" >/dev/null; }

need_cluster() {
  need kind "kind, from kind.sigs.k8s.io"
  need kubectl "kubectl, from kubernetes.io"
  has_cluster || fail "the cluster $CLUSTER does not exist: run make kind-up first."
}

# kubectl on our cluster, whatever the current context is; the second in Kubeflow's namespace.
cluster() { kubectl --context "kind-$CLUSTER" "$@"; }
kubeflow() { cluster --namespace kubeflow "$@"; }

# Run a command up to three times: kustomize gives up on a slow clone of the repositories that Kubeflow's files name.
thrice() {
  "$@" || { sleep 5 && "$@"; } || { sleep 5 && "$@"; }
}

# answers PORT PATH START: whether a server on the port answers the path with a text that begins like that.
answers() {
  local text
  text=$(curl --silent --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$1$2" 2>/dev/null) || return 1
  [[ $text == "$3"* ]]
}

# listens PORT: whether a program takes connections on a port; curl ends with 7 if none does.
listens() {
  local ended=0
  curl --silent --noproxy '*' --max-time 1 --output /dev/null "http://127.0.0.1:$1" || ended=$?
  [ "$ended" != 7 ]
}

# The process of an open port, unless it has ended and its number belongs to another program.
forwarding() {
  [ -r "$FORWARDS/$1" ] || return 1
  read -r process port <"$FORWARDS/$1"
  [[ $(ps -o args= -p "$process" 2>/dev/null) == *port-forward* ]]
}

close_forward() {
  local process port
  if forwarding "$1"; then kill "$process" 2>/dev/null || true; fi
  for _ in $(seq 50); do
    forwarding "$1" || break
    sleep 0.1
  done
  rm -f "$FORWARDS/$1"
}

# open_forward NAME SERVICE REMOTE PORT PATH START: forward a free port, PORT or one of the next, to a service, and set
# `port`. It stays open after the script. What answers must be that service.
open_forward() {
  local name=$1 service=$2 remote=$3 first=$4 path=$5 start=$6 process
  if forwarding "$name" && answers "$port" "$path" "$start"; then return; fi
  close_forward "$name"
  mkdir -p "$FORWARDS"
  for port in $(seq "$first" $((first + LAST_PORT_AFTER))); do
    if listens "$port"; then continue; fi
    nohup kubectl --context "kind-$CLUSTER" --namespace kubeflow port-forward --address 127.0.0.1 \
      "service/$service" "$port:$remote" >"$FORWARDS/$name.log" 2>&1 </dev/null &
    process=$!
    echo "$process $port" >"$FORWARDS/$name"
    for _ in $(seq 60); do
      # Only once kubectl listens: before, another program may have taken the port and answer.
      if grep -qs "^Forwarding from" "$FORWARDS/$name.log" && answers "$port" "$path" "$start"; then return; fi
      kill -0 "$process" 2>/dev/null || break
      sleep 0.5
    done
    if kill -0 "$process" 2>/dev/null; then
      close_forward "$name"
      fail "$service does not answer on port $port: look at kubectl --namespace kubeflow get pods."
    fi
    grep -q "address already in use\|unable to listen" "$FORWARDS/$name.log" || break # taken at the same moment: the next
  done
  rm -f "$FORWARDS/$name"
  fail "$service cannot be forwarded ($(tail -n 1 "$FORWARDS/$name.log" 2>/dev/null)): run make kind-up again."
}

open_kubeflow() { open_forward kubeflow ml-pipeline-ui 80 8080 /apis/v2beta1/healthz "{"; }

query() {
  kubeflow exec statefulset/steam-recsys-postgres -- psql --username=steam --dbname=shop --tuples-only --no-align --command="$1"
}

open_explorer() { open_forward explorer steam-recsys-explorer 80 8600 /healthz ok; }
