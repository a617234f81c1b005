#!/bin/bash
# The nodes of the contract tests' cluster; conftest.py calls these functions.
#
# Node N has its broker on port 909(1+N) and its controller on 1909(1+N), in directory N.
# SASL_SSL with SCRAM for clients and between brokers, mutual TLS between controllers,
# nothing allowed to anyone but the super users.
# The features are those of the release before, for a test to raise.
set -euo pipefail
cluster_id=Y29udHJhY3Qta2Fma2EtMQ
address=$(hostname -i)
java=(java -Xms128m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
      -Dlog4j2.configurationFile=/opt/kafka/log4j2.yaml -cp '/opt/kafka/libs/*')

broker_port() { echo $((9091 + $1)); }
controller_port() { echo $((19091 + $1)); }

make_certificates() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=contract" \
        -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/OU=kafka/CN=node" \
        -keyout node.key -out node.csr 2>/dev/null
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=IP:$address") -out node.crt 2>/dev/null
    cat node.key node.crt ca.pem >node.pem
}

write_properties() { # NODE ROLES
    local listeners votes=false
    listeners=BROKER://$address:$(broker_port "$1")
    if [[ $2 == *controller ]]; then
        listeners+=,CONTROLLER://$address:$(controller_port "$1")
        votes=true
    fi
    mkdir -p "$1"
    cat >"$1/server.properties" <<EOF
process.roles=$2
node.id=$1
broker.rack=rack$1
listeners=$listeners
controller.quorum.auto.join.enable=$votes
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:SASL_SSL,CONTROLLER:SSL
ssl.keystore.type=PEM
ssl.keystore.location=$PWD/node.pem
ssl.truststore.type=PEM
ssl.truststore.location=$PWD/ca.pem
listener.name.controller.ssl.client.auth=required
listener.name.controller.ssl.principal.mapping.rules=RULE:^CN=.*,OU=kafka$/node/,DEFAULT
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.broker.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="broker" password="$PASSWORD";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:node;User:broker;User:admin
controller.quorum.bootstrap.servers=$address:19092,$address:19093,$address:19094
log.dirs=$PWD/$1/data
auto.create.topics.enable=false
default.replication.factor=1
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
EOF
}

format_first() { # NODE
    local voters
    voters=$(for node in 1 2 3; do
        echo "$node@$address:$(controller_port $node):AAAAAAAAAAAAAAAAAAAA${node}A"
    done | paste -sd,)
    format "$1" --initial-controllers "$voters" --release-version 4.2 \
        --add-scram "SCRAM-SHA-512=[name=admin,password=$PASSWORD]" \
        --add-scram "SCRAM-SHA-512=[name=broker,password=$PASSWORD]"
}

format() { # NODE OPTION...
    "${java[@]}" kafka.tools.StorageTool format --cluster-id $cluster_id \
        --config "$1/server.properties" "${@:2}" >"$1/format.log" 2>&1 ||
        { cat "$1/format.log" >&2; return 1; }
}

make_cluster() {
    make_certificates
    for node in 1 2 3; do
        write_properties $node broker,controller
        format_first $node
        start $node
    done
}

add() { # NODE ROLES: to the cluster that runs, with an empty directory
    rm -rf "$1"
    write_properties "$1" "$2"
    format "$1" --no-initial-controllers
    start "$1"
}

start() { # NODE
    setsid "${java[@]}" kafka.Kafka "$1/server.properties" >>"$1/server.log" 2>&1 </dev/null &
    echo $! >"$1/pid"
}

properties() { # NODE
    cat "$1/server.properties"
}

add_properties() { # NODE LINES
    printf '%s' "$2" >>"$1/server.properties"
}

kill_hard() { # NODE: as a power cut would
    kill -9 "$(cat "$1/pid")"
    # Nobody reaps it in here: it stays as a zombie, without its ports.
    while [[ $(ps -o stat= -p "$(cat "$1/pid")") == [^Z]* ]]; do :; done
}

"$@"
