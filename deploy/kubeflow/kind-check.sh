#!/usr/bin/env bash
# Check on the kind cluster what no other test can: a failed run's record, a retried task and a schedule. After make
# kind-demo; takes about ten minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

need curl "curl"
need_cluster

open_kubeflow
export STEAM_RECSYS_KUBEFLOW__HOST=http://127.0.0.1:$port
compile() { .venv/bin/python compile.py --target kubeflow "$@"; }

clean_up() {
  kubeflow scale statefulset/steam-recsys-postgres --replicas=1 >/dev/null
  compile --unschedule ingestion >/dev/null
}
trap clean_up EXIT

# until_true SECONDS COMMAND…: wait for a command to succeed, at most so long.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 5
  done
}

say "a run that fails: its record names the stage and the reason"
if compile --submit ingestion --param raw=/store/nowhere --wait; then
  fail "ingestion of a folder that does not exist succeeded: look at $STEAM_RECSYS_KUBEFLOW__HOST."
fi
last=$(query "SELECT state, error FROM recsys.pipeline_runs WHERE pipeline = 'ingestion' ORDER BY finished_at DESC LIMIT 1")
[[ $last == "FAILED|ingest: "* ]] || fail "the record of the failed run is '$last': it must name the stage ingest and its reason."
say "recorded: $last"

say "a task that fails and is retried: the database is away for the first attempt"
kubeflow scale statefulset/steam-recsys-postgres --replicas=0
kubeflow wait --for=delete --timeout=120s pod/steam-recsys-postgres-0
log=$FORWARDS/retry.log
compile --submit training --wait >"$log" 2>&1 &
waiting=$!
submitted() { grep -o 'runs/details/.*' "$log" >/dev/null; }
until_true 300 submitted || fail "training was not submitted: $(tail -n 1 "$log")"
run=$(sed -n 's|.*runs/details/||p' "$log" | head -n 1)
failed() { [ -n "$(kubeflow get pods --selector="pipeline/runid=$run" --field-selector=status.phase=Failed --output=name)" ]; }
until_true 300 failed || fail "no attempt failed although the database is away: look at $STEAM_RECSYS_KUBEFLOW__HOST."
kubeflow scale statefulset/steam-recsys-postgres --replicas=1
wait "$waiting" || fail "the failed task was not retried: $(tail -n 1 "$log")"
cat "$log"

say "a schedule: ingestion every two minutes"
done_runs() { query "SELECT count(*) FROM recsys.pipeline_runs WHERE pipeline = 'ingestion' AND state = 'SUCCEEDED'"; }
before=$(done_runs)
compile --schedule ingestion --cron "*/2 * * * *" --param raw=/store/raw
fired() { [ "$(done_runs)" -gt "$before" ]; }
until_true 600 fired || fail "no scheduled run has succeeded: look at $STEAM_RECSYS_KUBEFLOW__HOST."
say "all three work"
