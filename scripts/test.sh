#!/usr/bin/env bash
# Sets up .venv and runs all tests in two processes; arguments are passed on to pytest.
# With --fast as the first one: a test of every module, in a minute.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up tests/requirements.txt
cd "$root"
if [ "${1:-}" = --fast ]; then
  shift
  mapfile -t fast < <(grep -v '^#' tests/fast.txt | cut -d ' ' -f 2 | sort -u)
  set -- "${fast[@]/#/tests/}" "$@"
fi
exec "$python" -m pytest -n 2 --dist=loadfile "$@"
