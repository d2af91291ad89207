#!/bin/sh
# Runs the unit tests on the newest Python of this machine that is newer than .venv's, in an environment of its own.
# Run from the repository's root, after bootstrap.sh. A machine without one says so.
set -eu

python=.venv/bin/python
environment=.spawner/newer-python

newest() {
  for candidate in python3.14 python3.13 python3.12 "$HOME"/.pyenv/versions/3.14*/bin/python \
    "$HOME"/.pyenv/versions/3.13*/bin/python "$HOME"/.pyenv/versions/3.12*/bin/python; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if "$python" -c "import sys; sys.exit(sys.version_info[:2] >= tuple(map(int, '$version'.split('.'))))"; then
      echo "$candidate"
      return
    fi
  done
}

found=$(newest)
if [ -z "$found" ]; then
  echo "  … no Python newer than .venv's on this machine: the unit tests ran on that one alone"
  exit 0
fi
wanted="$("$found" --version) $(cat .venv/locked)"
if [ "$(cat "$environment/locked" 2>/dev/null || true)" != "$wanted" ]; then
  echo "  … making an environment with $("$found" --version)"
  "$found" -m venv --clear "$environment"
  uv=$(command -v uv || echo .venv/bin/uv)
  [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
  "$uv" pip install -q --python "$environment/bin/python" --require-hashes -r requirements-dev.lock
  printf '%s\n' "$wanted" >"$environment/locked"
fi
echo "  … unit tests on $("$found" --version)"
exec "$environment/bin/python" -m pytest -m unit
