# shellcheck shell=bash
# What the commands in this folder share: sourced, never run. It finds the repository and the Swift
# toolchain, and installs the system packages a command needs where they are missing.
#
# Exit codes: 69 = something the command needs is missing and could not be installed.

# The repository's root, whatever the current directory and however the command was reached.
root="$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)"
export root

say() { printf '%s\n' "$*" >&2; }

# Leaves with code 69 ("unavailable" in sysexits.h) after saying what to do.
unavailable() {
  say "$@"
  exit 69
}

# need_swift: puts `swift` on the PATH from where the usual installers leave it.
need_swift() {
  command -v swift >/dev/null 2>&1 && return
  local directory
  for directory in "$HOME/.local/share/swiftly/bin" /usr/local/swift/usr/bin /opt/swift/usr/bin \
    /usr/share/swift/usr/bin /usr/libexec/swift/*/bin; do
    if [ -x "$directory/swift" ]; then
      PATH="$directory:$PATH"
      return
    fi
  done
  unavailable "Swift 6.2 or later is needed and 'swift' was not found: https://www.swift.org/install"
}

# have_header NAME: whether a C header is where compilers look for it.
have_header() {
  local directory
  local IFS=:
  for directory in ${C_INCLUDE_PATH:-} ${CPATH:-} /usr/include /usr/local/include; do
    [ -n "$directory" ] && [ -e "$directory/$1" ] && return 0
  done
  return 1
}

# need_packages HEADER=PACKAGE…: installs each Debian package whose header is missing. Costs nothing
# when all are there.
need_packages() {
  local pair missing=()
  for pair in "$@"; do
    have_header "${pair%%=*}" || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# install_packages PACKAGE…: installs Debian packages.
install_packages() {
  local missing=("$@")
  local install=(apt-get install -y --no-install-recommends "${missing[@]}")
  local as_root=()
  if ! command -v apt-get >/dev/null 2>&1; then
    unavailable "These packages are missing: ${missing[*]} (Debian's names). Install them, then run this again."
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1 || ! sudo -n true 2>/dev/null; then
      unavailable "These packages are missing: ${missing[*]}. Install them, then run this again:" \
        $'\n'"  sudo ${install[*]}"
    fi
    as_root=(sudo -n)
  fi
  say "Installing ${missing[*]} …"
  local log
  log="$(mktemp)"
  # The package lists may be missing or old: a second attempt follows an update of them.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >"$log" 2>&1 \
    && ! { "${as_root[@]}" apt-get update >>"$log" 2>&1 \
      && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" >>"$log" 2>&1; }; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    unavailable "Installing failed. Install them by hand, then run this again:"$'\n'"  ${as_root[*]} ${install[*]}"
  fi
  rm -f "$log"
}

# quietly LOG COMMAND…: runs a build. On a terminal its progress shows; elsewhere nothing does unless it
# fails. Its output never mixes with the standard output of what runs next.
quietly() {
  local log="$1"
  shift
  if [ -t 2 ]; then
    "$@" >&2
    return
  fi
  mkdir -p "$(dirname "$log")"
  local code=0
  "$@" >"$log" 2>&1 || code=$?
  if [ "$code" -ne 0 ]; then
    # Each error once: the build repeats them for every file of a module.
    grep -E '^[^ ].*error:' "$log" | awk '!seen[$0]++ && ++count <= 40' >&2 || tail -n 40 "$log" >&2
    say "The build failed; all of its output is in $log"
  fi
  return "$code"
}

# up_to_date STAMP PATH…: whether no file or folder under the paths changed since the stamp was made by
# the same toolchain. A file that went away counts as well: it changed its folder.
up_to_date() {
  local stamp="$1"
  shift
  [ -e "$stamp" ] || return 1
  [ "$(cat "$stamp")" = "$(readlink -f "$(command -v swift)")" ] || return 1
  [ -z "$(find "$@" -newer "$stamp" -print -quit 2>/dev/null)" ]
}

# stamp STAMP COMMAND…: runs the build, and makes the stamp with the time it began.
stamp() {
  local stamp="$1"
  shift
  mkdir -p "$(dirname "$stamp")"
  readlink -f "$(command -v swift)" >"$stamp.new"
  "$@" || return
  mv "$stamp.new" "$stamp"
}

# need_roost: builds the command-line tool where it is missing or older than its sources, and puts its path into
# `roost`.
need_roost() {
  need_swift
  need_packages lz4.h=liblz4-dev
  roost="$root/.build/release/roost"
  local mark="$root/.build/run.stamp"
  if [ -x "$roost" ] && up_to_date "$mark" "$root/Package.swift" "$root/Sources" "$root/tools/roost"; then
    return
  fi
  [ -t 2 ] || say "Building roost …"
  stamp "$mark" quietly "$root/.build/run.log" \
    swift build --package-path "$root" -c release --product roost
}
