#!/usr/bin/env bash
# Sets up .venv and builds the site in docs/_build/html, without a network once the
# packages are installed; arguments are passed on to sphinx-build.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up docs/requirements.txt
cd "$root"
exec "$python" -m sphinx --fail-on-warning --keep-going "$@" docs docs/_build/html
