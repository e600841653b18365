#!/bin/bash
# Checks an approval with stock tools: check-with-ssh-keygen.sh BUNDLE ALLOWED_SIGNERS [THRESHOLD]
# ALLOWED_SIGNERS is what `placet trust show --allowed-signers` prints.
# It checks keys, namespace and bytes.  Touch, PIN, origin, rules and window are checked by `placet verify`.
set -euo pipefail
[ -r "${1-}" ] && [ -r "${2-}" ] || { sed -n 's/^# //p' "$0"; echo "Cannot be read: ${1:-BUNDLE} or ${2:-ALLOWED_SIGNERS}"; exit 2; } >&2
bundle=$1 signers=$2 threshold=${3:-2} work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
jq -r .envelope.payload "$bundle" | base64 -d > "$work/payload"
type=$(jq -r .envelope.payloadType "$bundle")
{ printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$(wc -c < "$work/payload")"; cat "$work/payload"; } > "$work/signed"
for sig in $(jq -r '.envelope.signatures[].sig' "$bundle"); do
  printf -- '-----BEGIN SSH SIGNATURE-----\n%s\n-----END SSH SIGNATURE-----\n' "$(fold -w 70 <<< "$sig")" > "$work/sig"
  who=$(ssh-keygen -Y find-principals -f "$signers" -s "$work/sig" 2> "$work/log") || continue
  ssh-keygen -Y verify -n intent-v1@placet.dev -f "$signers" -I "$who" -s "$work/sig" < "$work/signed" &> "$work/log" || continue
  echo "$who"
done | sort -u > "$work/people"
jq -r .predicate.display.text "$work/payload"
echo "$(wc -l < "$work/people") of $threshold people: $(paste -sd ' ' "$work/people")"
[ "$(wc -l < "$work/people")" -ge "$threshold" ]
