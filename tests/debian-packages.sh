#!/usr/bin/env bash
# Installs the Debian packages of a list when this is root; otherwise names those that are missing and fails.
#   tests/debian-packages.sh [LIST]     default: those that tests need, debian-packages.txt beside this file
set -o errexit -o pipefail -o nounset
list=${1:-$(dirname "$0")/debian-packages.txt}
missing=()
while read -r package _; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done < <(grep -vE '^(#|$)' "$list")
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "Not installed, but in $list: ${missing[*]}. Install them: sudo apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "Installing what $list lists: ${missing[*]}"
# No service of theirs may start: tests and benchmarks start their own, on ports of their own.
apt-get update -qq
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
