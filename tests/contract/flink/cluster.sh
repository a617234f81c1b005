#!/bin/bash
# The processes of the contract tests' cluster; conftest.py calls these functions.
#
# A JobManager (8081), a TaskManager with 4 slots, and a SQL Gateway (8083), which all demand
# the client certificate that make_certificates makes. Java is called directly: Flink's own
# scripts start several more processes first.
set -euo pipefail
address=$(hostname -i)
modules=(java.base/java.lang java.base/java.net java.base/java.io java.base/java.nio
         java.base/sun.nio.ch java.base/java.lang.reflect java.base/java.text java.base/java.time
         java.base/java.util java.base/java.util.concurrent java.base/java.util.concurrent.atomic
         java.base/java.util.concurrent.locks)
opened=("${modules[@]/#/--add-opens=}")
java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1
      -Dlog4j2.configurationFile=/opt/flink/log4j2.properties
      "${opened[@]/%/=ALL-UNNAMED}")
export FLINK_CONF_DIR=$PWD/conf

make_certificates() { # PASSWORD
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=contract" \
        -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/CN=flink" -keyout node.key -out node.csr 2>/dev/null
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile <(echo "subjectAltName=IP:$address") -out node.crt 2>/dev/null
    openssl pkcs12 -export -in node.crt -inkey node.key -out node.p12 -passout "pass:$1"
    keytool -importcert -noprompt -alias ca -file ca.pem -keystore ca.p12 \
        -storetype PKCS12 -storepass "$1" 2>/dev/null
    cat node.key node.crt >client.pem
}

write_configuration() { # DIRECTORY PASSWORD
    mkdir -p conf "$1"/{savepoints,checkpoints}
    cat >conf/config.yaml <<EOF
jobmanager.rpc.address: $address
jobmanager.rpc.port: 6123
rest.address: $address
rest.bind-address: 0.0.0.0
rest.port: 8081
sql-gateway.endpoint.rest.address: $address
sql-gateway.endpoint.rest.port: 8083
taskmanager.host: $address
taskmanager.numberOfTaskSlots: 4
taskmanager.cpu.cores: 2.0
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 192m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.jvm-metaspace.size: 192m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
parallelism.default: 1
execution.checkpointing.dir: file://$1/checkpoints
execution.checkpointing.savepoint-dir: file://$1/savepoints
execution.checkpointing.interval: 1s
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 2147483647
restart-strategy.fixed-delay.delay: 200ms
web.refresh-interval: 1000
web.upload.dir: $PWD/upload
heartbeat.rpc-failure-threshold: 2
heartbeat.interval: 500
heartbeat.timeout: 10000
EOF
    local endpoint
    for endpoint in internal rest; do
        cat >>conf/config.yaml <<EOF
security.ssl.$endpoint.enabled: true
security.ssl.$endpoint.keystore: $PWD/node.p12
security.ssl.$endpoint.keystore-password: $2
security.ssl.$endpoint.key-password: $2
security.ssl.$endpoint.truststore: $PWD/ca.p12
security.ssl.$endpoint.truststore-password: $2
EOF
    done
    echo "security.ssl.rest.authentication-enabled: true" >>conf/config.yaml
}

make_cluster() { # DIRECTORY PASSWORD
    make_certificates "$2"
    write_configuration "$1" "$2"
    start jobmanager
    start taskmanager
    start gateway
}

start() { # PROCESS
    case $1 in
        jobmanager)
            run "$1" -Xmx384m -cp '/opt/flink/lib/*' \
                org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint \
                --configDir conf --executionMode cluster ;;
        taskmanager)
            run "$1" -Xmx384m -XX:MaxDirectMemorySize=256m -cp '/opt/flink/lib/*' \
                org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir conf ;;
        gateway)
            run "$1" -Xmx384m -cp '/opt/flink/lib/*:/opt/flink/opt/*' \
                org.apache.flink.table.gateway.SqlGateway ;;
    esac
}

run() { # PROCESS ARGUMENT...
    setsid "${java[@]}" "${@:2}" >>"$1.log" 2>&1 </dev/null &
    echo $! >"$1.pid"
}

output() { # NAME: what jobs that print under this identifier have printed
    grep -h "^$1[:>]" taskmanager.log || [ $? -eq 1 ] # 1: no such line yet
}

kill_hard() { # PROCESS: as a power cut would
    kill -9 "$(cat "$1.pid")"
    # Nobody reaps it in here: it stays as a zombie, without its ports.
    while [[ $(ps -o stat= -p "$(cat "$1.pid")") == [^Z]* ]]; do :; done
}

"$@"
