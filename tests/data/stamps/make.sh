#!/bin/sh
# Makes the two time stamps (RFC 3161) beside it, of an authority that is thrown away: one by a certificate that expired seconds
# after it stamped, one by a certificate that had expired years before. Keys go; what is kept are authority.pem and the two responses.
set -e
cd "$(dirname "$0")"
here=$PWD
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cp ../tsa.cnf "$work"
cd "$work"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj "/CN=an authority of tests" -days 36500
cat >> tsa.cnf <<'END'
[own]
database = index
new_certs_dir = .
serial = ca.srl
default_md = sha256
policy = any
x509_extensions = ext
[any]
commonName = supplied
END
touch index nothing
echo 01 > ca.srl
openssl ts -query -data nothing -sha256 -cert -out nothing.tsq
stamp() {
    openssl req -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj "/CN=$1"
    openssl ca -batch -notext -config tsa.cnf -name own -keyfile ca.key -cert ca.pem -in tsa.csr -out tsa.pem \
        -startdate 20200101000000Z -enddate "$2"
    openssl ts -reply -config tsa.cnf -section tsa -queryfile nothing.tsq -out "$1.tsr"
}
stamp expired_before 20210101000000Z
stamp expired_since "$(date -u -d '+5 seconds' +%Y%m%d%H%M%SZ)"
cp expired_before.tsr expired_since.tsr "$here"
cp ca.pem "$here/authority.pem"
