#!/usr/bin/env bash
# Gives each user a password and the least rights (docs/operating.md, Least rights). You may run
# this script again.
set -euo pipefail
umask 077
PREFIX=mykaarma.
ADMIN=/tmp/admin.properties
cat > $ADMIN << 'END'
security.protocol=SSL
ssl.keystore.type=PEM
ssl.keystore.location=/run/secrets/admin.store.pem
ssl.truststore.type=PEM
ssl.truststore.location=/run/secrets/ca.pem
END
brokers=(--bootstrap-server kafka-1:9094,kafka-2:9094,kafka-3:9094)

for user in ingress projector reader operator; do
  /opt/kafka/bin/kafka-configs.sh "${brokers[@]}" --command-config $ADMIN --alter --entity-type users \
    --entity-name $user --add-config "SCRAM-SHA-512=[password=$(cat /run/secrets/kafka-$user.password)]"
done

# allow USER OPERATION,… OPTION…
allow() {
  local user=$1 operation operations=()
  for operation in ${2//,/ }; do operations+=(--operation "$operation"); done
  /opt/kafka/bin/kafka-acls.sh "${brokers[@]}" --command-config $ADMIN --add --allow-principal "User:$user" \
    "${operations[@]}" "${@:3}" > /dev/null
}
topics() { for name; do printf -- '--topic %s ' "$PREFIX$name"; done; }

allow ingress Write,DescribeConfigs $(topics customers.raw other.raw quarantine)
allow projector Read,DescribeConfigs $(topics customers.raw customers.erasures customers.state)
allow projector Write,DescribeConfigs $(topics quarantine customers.state)
allow projector Read --group customer-stream-projector
allow projector Write --transactional-id customer-stream-projector --resource-pattern-type prefixed
allow reader Read $(topics customers.raw customers.state quarantine quarantine.audit customers.erasures)
# For redrives with the console, the reader also needs the rights of the row "reader, for redrives".
# The commands read every topic, and write erasures and the audit of quarantine. Only `quarantine
# redrive --execute` needs more: Write on customers.raw and other.raw.
allow operator Read,DescribeConfigs \
  $(topics customers.raw other.raw quarantine quarantine.audit customers.state customers.erasures)
allow operator Write $(topics customers.erasures quarantine.audit)
echo 'All users have their passwords and rights.'
