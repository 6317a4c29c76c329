#!/bin/sh
# Cài agent SchoolPulse (Nhịp trường) trên Debian, Ubuntu và đăng ký máy này.
# Installs the agent of SchoolPulse on Debian or Ubuntu, and enrols this machine.
#
#   sudo sh install.sh [OPTIONS] URL TOKEN     as `schoolpulse enrol` prints it, with ca.pem beside this file
#   sudo sh install.sh [OPTIONS]               from a bundle (USB): enrol.txt, ca.pem and the .deb beside this file
#
#   --name NAME   what people call this machine, as PC-07
#   --smart       install smartmontools too: the health of disks (needs the Internet)
#   --force       replace the identity that this machine has
#
# Ends with 0: reports; 1: failed; 2: called wrongly; 3: installed, and enrols by itself once the centre answers.
set -u

yes() { printf '✓ %s\n' "$1"; }
no() { printf '✗ %s\n' "$1" >&2; }
fail() {
  no "$1"
  exit 1
}
wrong() {
  no "$1"
  exit 2
}

main() {
  here=$(cd "$(dirname "$0")" && pwd)
  url='' token='' name='' smart='' force=''
  arguments "$@"
  check_machine
  package=$(find_package) || fail "$package"
  install_package
  enrol
  check_agent
}

arguments() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --name) [ $# -gt 1 ] || wrong "--name: thiếu tên máy · a name is missing"; name=$2; shift ;;
      --smart) smart=yes ;;
      --force) force=--force ;;
      --help) sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p;}' "$0"; exit 0 ;;
      -*) wrong "$1: không có tuỳ chọn này · no such option; xem · see: sh install.sh --help" ;;
      *) if [ -z "$url" ]; then url=$1; elif [ -z "$token" ]; then token=$1; else wrong "$1: thừa · too much"; fi ;;
    esac
    shift
  done
  if [ -z "$url" ] && [ -r "$here/enrol.txt" ]; then
    url=$(tr -d '\r\n' <"$here/enrol.txt")
  fi
  case "$url" in
    *'/enrol#'*) token=${url#*#} url=${url%%/enrol#*} ;;
  esac
  [ -n "$url" ] && [ -n "$token" ] || wrong "cần địa chỉ và mã · URL and TOKEN are needed: sudo sh install.sh URL spe_..."
  [ -r "$here/ca.pem" ] || wrong "không có ca.pem cạnh tệp này · ca.pem is missing beside this file: chạy cả dòng lệnh mà \
trung tâm in ra · run the whole line that the centre prints"
}

check_machine() {
  [ "$(id -u)" -eq 0 ] || fail "cần quyền root · root is needed: sudo sh install.sh ..."
  command -v dpkg >/dev/null || fail "chỉ cho Debian, Ubuntu · for Debian and Ubuntu only; máy khác: agent/README.md"
  yes "$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-Linux}"), $(uname -m)"
  if [ -x /usr/bin/python3 ]; then  # the system's: it is what the agent runs with
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
      fail "Python $(/usr/bin/python3 -V 2>&1 | cut -d' ' -f2) quá cũ, cần 3.9 · too old, 3.9 is needed: nâng cấp hệ điều hành · upgrade the system"
    yes "$(/usr/bin/python3 -V 2>&1)"
  fi
  free=$(df -Pk /usr | awk 'NR == 2 { print $4 }')
  [ "$free" -ge 20480 ] || fail "đĩa đầy, còn $free kB, cần 20 MB · the disk is full, 20 MB are needed"
}

# The one beside this file, else the centre's, over TLS that ca.pem verifies.
find_package() {
  for each in "$here"/schoolpulse-agent_*_all.deb; do
    if [ -e "$each" ]; then
      echo "$each"
      return
    fi
  done
  to=$(mktemp -d)/schoolpulse-agent.deb
  curl -fsS --max-time 120 --cacert "$here/ca.pem" -o "$to" "$url/installers/schoolpulse-agent.deb" || {
    echo "không tải được gói · the package can't be fetched from $url/installers/: trung tâm chạy · the centre runs: \
schoolpulse installer add schoolpulse-agent_..._all.deb"
    return 1
  }
  echo "$to"
}

install_package() {
  export DEBIAN_FRONTEND=noninteractive
  # What it needs may lie in the bundle too (python3-psutil, where there is no Internet); else apt-get fetches it.
  for each in "$here"/python3-*.deb; do
    if [ -e "$each" ]; then dpkg --install "$each" >/dev/null || no "$(basename "$each")"; fi
  done
  said=$(mktemp)  # a name in /tmp that others know could lead elsewhere
  if ! { dpkg --install "$package" || apt-get -qq -y --fix-broken install; } >"$said" 2>&1 ||
    ! schoolpulse-agent --version >/dev/null 2>&1; then
    tail -n 5 "$said" >&2
    rm -f "$said"
    fail "không cài được gói, thường vì thiếu python3-psutil · the package can't be installed, mostly for want of \
python3-psutil: apt-get install python3-psutil"
  fi
  rm -f "$said"
  case "$package" in "$here"/*) ;; *) rm -rf "$(dirname "$package")" ;; esac  # what was fetched
  yes "$(schoolpulse-agent --version)"
  if [ -n "$smart" ]; then
    apt-get -qq -y install smartmontools >/dev/null && yes smartmontools || no "smartmontools: cài sau cũng được · may follow later"
  fi
}

enrol() {
  if [ -s /etc/schoolpulse/agent.toml ] && grep -q '^id = "[^"]' /etc/schoolpulse/agent.toml && [ -z "$force" ]; then
    yes "đã đăng ký từ trước · enrolled already; thay: --force · to replace that: --force"
    return
  fi
  # By standard input: arguments can be read by everybody on this machine.
  # shellcheck disable=SC2086 # $force is a word or nothing
  if ! printf '%s\n' "$token" | schoolpulse-agent enroll "$url" - ${name:+--name "$name"} $force; then
    answers || later
    fail "không đăng ký được · not enrolled: xem dòng trên · see the line above"
  fi
  rm -f /etc/schoolpulse/enrol
  yes "đã đăng ký · enrolled"
}

answers() {
  /usr/bin/python3 -I -c 'import socket, sys, urllib.parse
at = urllib.parse.urlsplit(sys.argv[1])
socket.create_connection((at.hostname, at.port or 443), 10)' "$url" 2>/dev/null
}

later() {
  printf '%s/enrol#%s\n%s\n' "$url" "$token" "$name" | install -m 0600 -o schoolpulse -g schoolpulse /dev/stdin /etc/schoolpulse/enrol
  if [ -d /run/systemd/system ]; then systemctl start schoolpulse-enrol.timer; fi
  no "chưa liên lạc được với trung tâm · the centre does not answer: $url"
  no "Agent đã cài và sẽ tự đăng ký khi có mạng, thử lại mỗi 30 phút đến khi mã hết hạn; hoặc chạy lại lệnh này."
  no "The agent is installed and enrols by itself, trying every 30 minutes; or run this again."
  exit 3
}

check_agent() {
  # As its own user: what root creates in its folders it could not write.
  if setpriv --reuid=schoolpulse --regid=schoolpulse --clear-groups schoolpulse-agent check; then
    if [ -d /run/systemd/system ]; then systemctl restart schoolpulse-agent.service || fail "journalctl -u schoolpulse-agent"; fi
    yes "xong, agent đang gửi báo cáo · done, the agent reports"
  else
    if [ -d /run/systemd/system ]; then systemctl restart schoolpulse-agent.service; fi
    no "Agent đã cài, giữ báo cáo lại và tự gửi khi mọi bước trên đều ✓. Thử lại: sudo -u schoolpulse schoolpulse-agent check"
    fail "The agent is installed, keeps its reports and sends them once all is ✓ above. Again: sudo -u schoolpulse schoolpulse-agent check"
  fi
}

main "$@"
