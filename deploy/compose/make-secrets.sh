#!/usr/bin/env bash
# Makes the certificates and passwords of deploy/compose.production.yml, in deploy/secrets:
#   deploy/compose/make-secrets.sh
# A second run keeps the existing files. docs/deploying.md says how to renew a secret.
set -euo pipefail
umask 077
mkdir -p "$(dirname "$0")/../secrets"
cd "$(dirname "$0")/../secrets"

DAYS=825
# A file gets its name only when it is complete, so a failed run leaves no incomplete certificate.
NEW=.new
rm -rf $NEW
mkdir $NEW
trap 'rm -rf $NEW' EXIT

if [[ ! -s ca.pem ]]; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $NEW/ca.key
  openssl req -x509 -new -key $NEW/ca.key -days 3650 -subj '/CN=customer-stream' \
    -addext 'basicConstraints=critical,CA:TRUE' -out $NEW/ca.pem
  mv $NEW/* .
fi

# certificate NAME HOST...: makes NAME.pem, NAME.key and NAME.store.pem, for servers and clients.
certificate() {
  local name=$1 host names=''
  shift
  [[ -s $name.pem && -s $name.key && -s $name.store.pem ]] && return
  if [[ ! -s ca.key ]]; then
    echo "ca.key is needed to sign $name.pem. Copy it into deploy/secrets for this run." >&2
    exit 1
  fi
  for host; do names+="${names:+,}DNS:$host"; done
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$NEW/$name.key"
  openssl req -new -key "$NEW/$name.key" -subj "/CN=$name" |
    openssl x509 -req -days $DAYS -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" \
      -out "$NEW/$name.pem" -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$names")
  cat "$NEW/$name.key" "$NEW/$name.pem" > "$NEW/$name.store.pem"
  mv $NEW/* .
}
certificate kafka kafka-1 kafka-2 kafka-3
certificate redis redis-1 redis-2 sentinel-1 sentinel-2 sentinel-3 localhost
certificate admin admin

# password FILE: makes a random password without a line break.
password() {
  [[ -s $1 ]] || printf %s "$(openssl rand -hex 24)" > "$1"
}
for user in ingress projector reader operator; do password "kafka-$user.password"; done
for user in admin replica sentinel projector reader operator; do password "redis-$user.password"; done
password sentinel.password
password grafana.password
[[ -s cluster-id ]] || openssl rand 16 | base64 | tr '+/' 'ab' | cut -c 1-22 > cluster-id

hash() { printf %s "$(openssl dgst -sha256 -r "redis-$1.password" | cut -d ' ' -f 1)"; }
KEYS='~mykaarma:customer:* ~mykaarma:erased:* ~mykaarma:positions:* ~mykaarma:index:* ~mykaarma:drift ~mykaarma:dealers ~mykaarma:dealer:*'
# The user default may not log in, but keeps all rights. Some releases of Redis run the transactions
# in the append-only file as this user. Without the rights, a restart loses customers, without an
# error.
cat > redis-users.acl << END
user default off ~* &* +@all
user admin on #$(hash admin) ~* &* +@all
user replica on #$(hash replica) +psync +replconf +ping
user sentinel on #$(hash sentinel) &* +multi +slaveof +ping +exec +subscribe +config|rewrite +role +publish +info +client|setname +client|kill +script|kill
user projector on #$(hash projector) $KEYS +ping +info +exists +eval +evalsha +hget +hmget +hset +hlen +hkeys +hdel +persist +set +del +zadd +zrem +zscore +bitfield +pexpire +zrange +get +pfadd +pfcount
user reader on #$(hash reader) ~mykaarma:customer:* ~mykaarma:positions:* ~mykaarma:index:* ~mykaarma:dealers ~mykaarma:dealer:* ~mykaarma:drift +ping +info +hgetall +hmget +zrevrange +zrangebyscore +zrange +zcard +get
user operator on #$(hash operator) $KEYS +ping +info +hgetall +hmget +hget +scan +zscan +zscore +eval +evalsha +hlen +hset +hdel +del
END
printf 'masteruser replica\nmasterauth %s\n' "$(cat redis-replica.password)" > redis-replication.conf
cat > sentinel-users.conf << END
sentinel auth-user mymaster sentinel
sentinel auth-pass mymaster $(cat redis-sentinel.password)
sentinel sentinel-pass $(cat sentinel.password)
requirepass $(cat sentinel.password)
END
for user in projector reader operator; do
  printf 'rediss://%s:%s@mymaster' $user "$(cat redis-$user.password)" > redis-$user.url
done
for name in signing-secrets tokens; do
  [[ -s mykaarma-$name ]] || printf 'main=change-me-%s' "$(openssl rand -hex 16)" > "mykaarma-$name"
done
# The reader gets only the digest of the key `site`. You may add more keys to the JSON file.
password reader-site.key
[[ -s reader-api-keys.json ]] ||
  printf '[{ "name": "site", "sha256": "%s", "scopes": ["read", "operate"], "dealers": ["*"] }]\n' \
    "$(openssl dgst -sha256 -r reader-site.key | cut -d ' ' -f 1)" > reader-api-keys.json
# compose.env may also have PUBLIC_HOST and VERSION, which stay.
{
  if [[ -f compose.env ]]; then sed '/^KAFKA_CLUSTER_ID=/d' compose.env; fi
  printf 'KAFKA_CLUSTER_ID=%s\n' "$(cat cluster-id)"
} > $NEW/compose.env
mv $NEW/compose.env .

# The users inside the containers have different user ids, so all users may read the files. But only
# you may open the folder on this machine.
chmod 644 ./*
if [[ -f ca.key ]]; then chmod 600 ca.key; fi
cat << 'END'
The secrets are in deploy/secrets. Keep ca.key on another machine.
Now write the values of myKaarma into deploy/secrets/mykaarma-signing-secrets and
deploy/secrets/mykaarma-tokens, each as main=VALUE. Write PUBLIC_HOST=HOST into
deploy/secrets/compose.env.
END
