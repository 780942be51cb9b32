#!/usr/bin/env bash
# Sets up .venv and trains the default experiment; arguments are passed on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
exec "$python" -m experiments.vae "$@"
