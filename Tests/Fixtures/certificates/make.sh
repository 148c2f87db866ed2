#!/usr/bin/env bash
# Makes the certificates that the tests of TLS use, valid from 2020 to 2120. They are checked in, so that tests
# need no other program; nothing but tests may trust them. Run in this folder, with openssl.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
newKey=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
from=20200101000000Z
to=21200101000000Z

# ca AUTHORITY ARGUMENTS…: `openssl ca` with a database of its own.
ca() {
  local authority="$1"
  shift
  : >"$work/index"
  cat >"$work/conf" <<END
[ca]
default_ca = it
[it]
database = $work/index
rand_serial = yes
new_certs_dir = $work
default_md = sha256
policy = any
email_in_dn = no
unique_subject = no
[any]
commonName = supplied
END
  openssl ca -batch -notext -config "$work/conf" -keyfile "$work/$authority.key" "$@" 2>/dev/null
}

# authority NAME: a folder with an authority's certificate.
authority() {
  mkdir -p "$1"
  openssl req "${newKey[@]}" -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/csr" 2>/dev/null
  ca "$1" -selfsign -startdate $from -enddate $to -in "$work/csr" -out "$1/ca.pem" \
    -extfile <(printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n')
}

# node AUTHORITY NAME HOST [END]: a node's certificate and key.
node() {
  openssl req "${newKey[@]}" -subj "/CN=$2" -keyout "$1/$2.key" -out "$work/csr" 2>/dev/null
  ca "$1" -cert "$1/ca.pem" -startdate $from -enddate "${4:-$to}" -in "$work/csr" -out "$1/$2.pem" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$3")
}

for authority in authority another; do
  authority $authority
  for name in a b c d; do node $authority $name "DNS:$name"; done
done
node authority at-loopback "IP:127.0.0.1"
node authority expired "DNS:expired" 20210101000000Z
