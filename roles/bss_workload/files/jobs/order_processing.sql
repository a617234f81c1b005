-- What becomes of the orders, and which of them are of high value.
--
--   bss.analytics.events   ORDER_STATUS: for each status, how many orders of the last ten minutes there are, with
--                          their sum, average and highest amount; every minute. Exactly once.
--   bss.fraud.alerts       high_value_order: every order of at least 7,500.00, at once. At least once.
--   bss.late.events        orders that came after a window of theirs had closed. At least once.
--
-- A window closes when orders 65 s younger than its end have come from every partition. All that is late in these
-- streams is late by a minute at the most, and counted therefore. docs/streams.md has every field.

-- Windows begin at whole minutes of this time zone.
SET 'table.local-time-zone' = 'UTC';

-- How Flink reaches Kafka. Addresses and password are read by Kafka's client, from a file for Flink's user alone.
CREATE TABLE kafka WITH (
  'connector' = 'kafka',
  'properties.config.providers' = 'file',
  'properties.config.providers.file.class' =
    'org.apache.flink.kafka.shaded.org.apache.kafka.common.config.provider.FileConfigProvider',
  'properties.bootstrap.servers' = '${file:/etc/flink/kafka.properties:bootstrap.servers}',
  'properties.security.protocol' = 'SASL_SSL',
  'properties.ssl.truststore.type' = 'PEM',
  'properties.ssl.truststore.location' = '/etc/bss/tls/ca.crt',
  'properties.sasl.mechanism' = 'SCRAM-SHA-512',
  'properties.sasl.jaas.config' =
    'org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule required username="bss-flink" password="${file:/etc/flink/kafka.properties:password}";'
);

CREATE TABLE orders (
  event_id STRING,
  event_time BIGINT,
  customer_id STRING,
  order_id STRING,
  amount DECIMAL(12, 2),
  status STRING,
  happened_at AS TO_TIMESTAMP_LTZ(event_time, 3),
  WATERMARK FOR happened_at AS happened_at - INTERVAL '65' SECOND
) WITH (
  'topic' = 'bss.order.events',
  'properties.group.id' = 'bss-flink-order-processing',
  -- Where there is no state to go on from, everything that the topic has is computed anew.
  'scan.startup.mode' = 'earliest-offset',
  -- A partition without orders for so long keeps no window open.
  'scan.watermark.idle-timeout' = '5 min',
  'format' = 'json'
) LIKE kafka (EXCLUDING ALL INCLUDING OPTIONS);

CREATE TABLE order_status (
  metric STRING,
  window_start BIGINT,
  window_end BIGINT,
  status STRING,
  orders BIGINT,
  total_amount DECIMAL(38, 2),
  average_amount DECIMAL(38, 6),
  highest_amount DECIMAL(12, 2)
) WITH (
  'topic' = 'bss.analytics.events',
  'key.format' = 'raw',
  'key.fields' = 'status',
  'value.format' = 'json',
  'value.json.encode.decimal-as-plain-number' = 'true',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = 'bss-flink-order-processing',
  'sink.transaction-naming-strategy' = 'pooling',
  'properties.transaction.timeout.ms' = '600000'
) LIKE kafka (EXCLUDING ALL INCLUDING OPTIONS);

CREATE TABLE alerts (
  alert_id STRING,
  `pattern` STRING,
  customer_id STRING,
  event_ids ARRAY<STRING>,
  event_times ARRAY<BIGINT>
) WITH (
  'topic' = 'bss.fraud.alerts',
  'key.format' = 'raw',
  'key.fields' = 'customer_id',
  'value.format' = 'json',
  'sink.delivery-guarantee' = 'at-least-once',
  'properties.linger.ms' = '0'
) LIKE kafka (EXCLUDING ALL INCLUDING OPTIONS);

CREATE TABLE late_orders (
  job STRING,
  window_end BIGINT,
  event_id STRING,
  event_time BIGINT,
  customer_id STRING,
  order_id STRING,
  amount DECIMAL(12, 2),
  status STRING
) WITH (
  'topic' = 'bss.late.events',
  'key.format' = 'raw',
  'key.fields' = 'customer_id',
  'value.format' = 'json',
  'value.json.encode.decimal-as-plain-number' = 'true',
  'sink.delivery-guarantee' = 'at-least-once'
) LIKE kafka (EXCLUDING ALL INCLUDING OPTIONS);

EXECUTE STATEMENT SET BEGIN

INSERT INTO order_status
SELECT
  'ORDER_STATUS',
  UNIX_TIMESTAMP(CAST(window_start AS STRING)) * 1000,
  UNIX_TIMESTAMP(CAST(window_end AS STRING)) * 1000,
  status,
  COUNT(*),
  SUM(amount),
  AVG(amount),
  MAX(amount)
FROM HOP(TABLE orders, DESCRIPTOR(happened_at), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE)
GROUP BY window_start, window_end, status;

INSERT INTO alerts
SELECT
  'high_value_order:' || event_id,
  'high_value_order',
  customer_id,
  ARRAY[event_id],
  ARRAY[event_time]
FROM orders
WHERE amount >= 7500;

-- The first window of an order to close ends with its minute; the nine others may still be open and have it.
INSERT INTO late_orders
SELECT 'order_processing', window_end, event_id, event_time, customer_id, order_id, amount, status
FROM (SELECT *, (event_time / 60000 + 1) * 60000 AS window_end FROM orders)
WHERE TO_TIMESTAMP_LTZ(window_end - 1, 3) <= CURRENT_WATERMARK(happened_at);

END;
