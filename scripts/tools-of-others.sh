# Sourced by scripts/setup-interop and scripts/setup-real-stack: the cache folder, and packages of Debian sid,
# which are fetched and unpacked there and never installed.  Needs no root.
# PLACET_INTEROP_CACHE names another folder; PLACET_DEBIAN_MIRROR another Debian mirror than the one apt uses.
cache=${PLACET_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/placet/interop}

fail() {  # what failed, what to do next; the end of the log stands between them
  echo "scripts/${0##*/}: $1" >&2
  [ ! -s "$cache/log" ] || tail -n 5 "$cache/log" | sed 's/^/    /' >&2
  echo "$2" >&2
  exit 2
}

# A part is complete when its stamp holds the hash of what it was made from: an interrupted run starts that part again.
complete() { [ "$(cat "$cache/$1.stamp" 2>/dev/null)" = "$2" ]; }
begin() {
  rm -rf "${cache:?}/$1.new" "$cache/$1.stamp"
  mkdir -p "$cache/$1.new"
  : >"$cache/log"
}
replace() {  # $cache/$1.new becomes $cache/$1
  rm -rf "${cache:?}/$1"
  mv "$cache/$1.new" "$cache/$1"
  echo "$2" >"$cache/$1.stamp"
}

debian_mirror() {
  # apt's own reading of its sources, so every spelling of them works.  Archives of others have no sid.
  [ -z "${PLACET_DEBIAN_MIRROR:-}" ] || { echo "$PLACET_DEBIAN_MIRROR"; return; }
  local codename
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
  apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
    awk -v name="$codename" \
      '$1 == "Packages" && $3 == "main" && $2 ~ "^(" name "|stable|testing|unstable|sid)$" { print $4; exit }'
}

sid_update() {  # STATE: fetches sid's package lists into STATE, and sets `sid_apt` for what follows
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg state=$1 mirror
  command -v apt-get dpkg-deb >/dev/null || fail "This machine has no apt." "The tools come from Debian: use a Debian machine."
  [ -r $keyring ] || fail "Debian's keys are missing." "Install the Debian package debian-archive-keyring."
  mirror=$(debian_mirror || true)
  [ -n "$mirror" ] || fail "apt has no Debian mirror here." "Set PLACET_DEBIAN_MIRROR to the address of one."
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  : >"$state/status"
  echo "deb [signed-by=$keyring] $mirror sid main" >"$state/sid.list"
  # Sources, lists, cache and status of their own: the system's apt never hears of sid, nor sid of the system.
  sid_apt=(apt-get -q -o "Dir::Etc::sourcelist=$state/sid.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state"
    -o "APT::Sandbox::User=$(id -un)" -o Debug::NoLocking=1 -o Acquire::Languages=none
    -o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false)
  "${sid_apt[@]}" -o APT::Update::Error-Mode=any update >"$cache/log" 2>&1 ||
    fail "Debian's package lists could not be fetched." "Is the mirror in apt's sources reachable? Run this again."
}

one_at_a_time() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
}
