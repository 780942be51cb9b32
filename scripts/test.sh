#!/usr/bin/env bash
# Sets up .venv and runs all tests in two processes; arguments are passed on to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up tests/requirements.txt
cd "$root"
exec "$python" -m pytest -n 2 "$@"
