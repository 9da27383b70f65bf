#!/usr/bin/env bash
# Close the ports that kind-open.sh opened.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/kubeflow/common.bash

need ps "procps"
for name in kubeflow explorer; do close_forward "$name"; done
say "closed"
