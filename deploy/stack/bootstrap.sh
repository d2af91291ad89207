#!/bin/sh
# Makes .venv with the locked dependencies, or leaves it alone if it has them. Run from the repository's root.
set -eu

say() { printf '  %s %s\n' "$1" "$2"; }
fail() { say "✗" "$1" >&2; exit 1; }

can_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1
}

install() {
  say "…" "installing $* with apt-get"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } \
    >"$log" 2>&1 || { tail -n 8 "$log" >&2; fail "apt-get could not install $*; log: $log"; }
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  for candidate in ${PYTHON:-} python3 python3.12 python3.11 python3.13 python3.14; do
    if new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
  done
}

make_venv() {
  "$1" -m venv "$2" .venv >>"$log" 2>&1
}

mkdir -p .spawner/log
chmod 711 .spawner && chmod 700 .spawner/log
log=$PWD/.spawner/log/bootstrap.log
python=.venv/bin/python

if ! new_enough "$python"; then
  found=$(find_python)
  if [ -z "$found" ] && can_install; then
    install python3 python3-venv
    found=$(find_python)
  fi
  [ -n "$found" ] || fail "Spawner needs Python 3.11 or later, and there is none on PATH. Install it (Debian 12 or later, Ubuntu 24.04 or later: sudo apt-get install python3 python3-venv), or name one: PYTHON=/path/to/python3 make up"
  say "…" "making .venv with $("$found" --version)"
  if ! make_venv "$found" --clear; then
    # Debian ships the venv module without what fills one.
    can_install || fail "$found cannot make a virtual environment: install python3-venv (sudo apt-get install python3-venv), then try again"
    install python3-venv "$(basename "$("$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")"
    make_venv "$found" --clear || fail "$found cannot make a virtual environment; log: $log"
  fi
fi

wanted="$("$python" -c 'import hashlib; print(hashlib.sha256(open("requirements-dev.lock", "rb").read()).hexdigest())') compiled"
if [ "$(cat .venv/locked 2>/dev/null || true)" != "$wanted" ]; then
  started=$(date +%s)
  # uv reads neither pip's certificate setting nor its index.
  [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
  [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
  if command -v uv >/dev/null 2>&1; then
    uv=uv
  else
    uv=.venv/bin/uv
    if [ ! -x "$uv" ]; then
      say "…" "installing uv"
      # An environment that uv made has no pip.
      "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >"$log" 2>&1 || true
      "$python" -m pip install -q --disable-pip-version-check uv >"$log" 2>&1 || { tail -n 8 "$log" >&2; fail "uv could not be installed; log: $log"; }
    fi
  fi
  say "…" "installing the locked dependencies"
  # Compiled once here: each process would do so at its start where it may write no bytecode, and half its start is that.
  "$uv" pip install -q --compile-bytecode --python "$python" --require-hashes -r requirements-dev.lock >"$log" 2>&1 || { tail -n 12 "$log" >&2; fail "the dependencies could not be installed; log: $log"; }
  printf '%s\n' "$wanted" >.venv/locked
  printf '  ✓ %-16s%6s s  %s\n' "Dependencies" "$(($(date +%s) - started)).0" "$("$python" --version)"
fi

# The project itself: importable everywhere, and its command with the settings of the running stack.
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[ "$(cat "$site/spawner.pth" 2>/dev/null || true)" = "$PWD" ] || printf '%s\n' "$PWD" >"$site/spawner.pth"
if [ ! -x .venv/bin/spawner ]; then
  printf '#!/bin/sh\nexec "%s/.venv/bin/python" -m deploy.stack.command "$@"\n' "$PWD" >.venv/bin/spawner
  chmod 755 .venv/bin/spawner
fi
