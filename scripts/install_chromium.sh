#!/bin/sh
# Make sure that a Chromium can be run: the browser tests open every page that askew writes in it.
#
#     scripts/install_chromium.sh           installs Debian's chromium where none is found and apt-get may be used
#     scripts/install_chromium.sh --find    prints the browser that the tests use, or fails; installs nothing
#
# CHROMIUM=/path/to/chrome names a browser, and no other is looked for. Where none can be installed, one line says
# what to do, and the exit status is 0: the browser tests are then skipped. With ASKEW_NEEDS_CHROMIUM=1 it is 1.
set -eu

find_browser() {
    if [ -n "${CHROMIUM:-}" ]; then
        command -v "$CHROMIUM"
        return
    fi
    for name in chromium chromium-browser google-chrome google-chrome-stable \
        '/Applications/Chromium.app/Contents/MacOS/Chromium' \
        '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'; do
        # /snap/bin/chromium cannot read files outside the home directory, such as those of the tests
        if found=$(command -v "$name") && [ "${found#/snap/}" = "$found" ]; then
            printf '%s\n' "$found"
            return
        fi
    done
    return 1
}

install_with_apt() {
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
    echo 'installing chromium for the browser tests, once' >&2
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=2 -o Acquire::http::Timeout=30"
    $apt update >/dev/null && $apt install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
}

if [ "${1:-}" = --find ]; then
    find_browser
    exit
fi
if find_browser >/dev/null; then
    exit 0
fi
if [ -z "${CHROMIUM:-}" ] && install_with_apt && find_browser >/dev/null; then
    exit 0
fi
if [ -n "${CHROMIUM:-}" ]; then
    echo "CHROMIUM=$CHROMIUM cannot be run; set it to a Chrome or Chromium, or unset it." >&2
else
    echo "No Chromium for the browser tests; install Debian's package chromium, or set CHROMIUM to a browser." >&2
fi
[ "${ASKEW_NEEDS_CHROMIUM:-}" != 1 ]
