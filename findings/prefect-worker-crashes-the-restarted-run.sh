#!/usr/bin/env bash
# prefect 3.9.1 (and 3.8.8), process worker: a killed flow run is reported as crashed twice, and the second report hits
# the attempt that was started meanwhile.
#
# A flow's process is killed. The worker's executor reports Crashed at once. It then runs the flow's crash hooks in a
# child process that imports the flow's module, although the flow has none, and only when that has ended the worker
# reports the same exit code again (BaseWorker._submit_run_and_capture_errors: "Flow run infrastructure exited with
# non-zero status code"), without a look at whether the run is still in that attempt. With an import of some seconds
# (PyTorch) and a retry at once (an automation on prefect.flow-run.Crashed, or `prefect flow-run retry`) the new attempt
# is marked Crashed while it starts. That also revokes its lease on the deployment's concurrency limit, so the process
# ends itself: the retry is lost.
#
# States seen with 3.9.1, in order:
#   Scheduled, Pending, Submitting, Running
#   Crashed: Process exited with status code: -9. Process exited due to a SIGKILL signal. ...
#   Scheduled: Retried via CLI
#   Pending, Submitting
#   Crashed: Flow run infrastructure exited with non-zero status code -9. ...   <- the first process again
#   Running
#   Crashed: Execution was cancelled by the runtime environment.
# Expected after the retry: Pending, Submitting, Running, Completed.
#
# Exits with 0 if it behaves as described, with 1 if it does not. Takes one to two minutes after the installation.
set -euo pipefail
work=$(mktemp -d)
server="" worker=""
finish() {  # the worker first, since without a server it ignores SIGTERM
    for id in $worker $server; do
        kill "$id" 2>/dev/null || continue
        for _ in $(seq 20); do kill -0 "$id" 2>/dev/null || break; sleep 0.5; done
        kill -9 "$id" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prefect==3.9.1 fastapi==0.150.0 sqlalchemy==2.1.9
python=$work/venv/bin/python

cat > slow.py <<'PY'
import os, signal, time
from prefect import flow, runtime

time.sleep(8)  # an import that takes its time


@flow
def work():
    if runtime.flow_run.run_count == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(15)
PY
cat > watch.py <<'PY'
import subprocess, sys, time
from prefect.client.orchestration import get_client

with get_client(sync_client=True) as client:
    deployment = client.read_deployment_by_name("work/d")
    run = client.create_flow_run_from_deployment(deployment.id)
    retried, start = False, time.monotonic()
    while time.monotonic() - start < 120:
        states = client.read_flow_run_states(run.id)
        crashes = [s for s in states if s.is_crashed()]
        if crashes and not retried:  # at once, as an automation would
            subprocess.run([sys.executable, "-m", "prefect", "flow-run", "retry", str(run.id)], check=True, stdout=subprocess.DEVNULL)
            retried = True
        last = max(states, key=lambda s: s.timestamp)
        if retried and (last.is_completed() or len(crashes) > 2):
            break
        time.sleep(0.3)
    for state in sorted(states, key=lambda s: s.timestamp):
        print(state.name + (f": {state.message}" if state.message else ""))
    late = [s for s in crashes if s.message.startswith("Flow run infrastructure exited")]
    sys.exit(0 if late and not last.is_completed() else 1)
PY

port=$($python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME=$work/home PREFECT_API_URL=http://127.0.0.1:$port/api
export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 PREFECT_WORKER_QUERY_SECONDS=2
$python -m prefect server start --host 127.0.0.1 --port "$port" --no-ui > server.log 2>&1 &
server=$!
for _ in $(seq 120); do
    $python -c "import urllib.request as u; u.urlopen('$PREFECT_API_URL/health')" 2>/dev/null && break
    sleep 1
done
$python -m prefect --no-prompt work-pool create p --type process > /dev/null
$python -m prefect --no-prompt deploy slow.py:work --name d --pool p --concurrency-limit 1 > deploy.log
$python -m prefect --no-prompt worker start --pool p > worker.log 2>&1 &
worker=$!
if $python watch.py; then
    echo "as described: the late report of the first attempt crashed the second"
else
    echo "changed: the second attempt was not crashed by the first one's exit code"
    exit 1
fi
