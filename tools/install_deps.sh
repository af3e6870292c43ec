#!/bin/sh
# Installs the Debian packages that are missing. Usage: tools/install_deps.sh [build] [test] [fuzz] [bench] [demo]
#   build  the compiler, CMake, the header-only libraries, Python for the scripts
#   test   GoogleTest, clang-format, a font for the demo's picture
#   fuzz   clang with libFuzzer
#   bench  google-benchmark
#   demo   labelled pictures (31 MB)
# Does nothing, quickly, when everything is there.
set -eu

build="cmake ninja-build g++ libcli11-dev nlohmann-json3-dev libfmt-dev libexpected-dev libxxhash-dev libstb-dev
       libeigen3-dev python3 python3-venv fonts-dejavu-core ca-certificates"
test="libgtest-dev clang-format-14"
fuzz="clang-14 libclang-rt-14-dev llvm-14"
bench="libbenchmark-dev"
demo="dataset-fashion-mnist"

wanted=""
for group in "${@:-build}"; do
  case "$group" in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    fuzz) wanted="$wanted $fuzz" ;;
    bench) wanted="$wanted $bench" ;;
    demo) wanted="$wanted $demo" ;;
    *) echo "install_deps.sh: no group '$group'; the groups are build, test, fuzz, bench, demo" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
  echo "install_deps.sh: this is not a Debian system; install the equivalents of:$wanted" | tr -s ' \n' ' ' >&2
  echo "(continuing: the build says what it misses)" >&2
  exit 0
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=""
for package in $wanted; do
  printf '%s\n' "$installed" | grep -qx "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo"
else
  echo "install_deps.sh: these packages are missing and installing them needs root:" >&2
  echo "    apt-get install -y --no-install-recommends$missing" >&2
  exit 1
fi

echo "installing:$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_missing() {
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
    --no-install-recommends $missing >"$log" 2>&1
}
# The package lists are fetched only when the ones at hand do not serve.
if ! install_missing; then
  $as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 && install_missing || {
    cat "$log" >&2
    echo "install_deps.sh: apt-get failed (above); is the package mirror reachable?" >&2
    exit 1
  }
fi
