-- What each customer orders, in windows of five minutes that do not overlap.
--
--   bss.analytics.events   CUSTOMER_ORDERS: for each customer who ordered in the window, how many orders, their sum and
--                          average amount, and how the customer behaved (the first that holds):
--                            HIGH_VALUE   orders of 5,000.00 or more in sum
--                            FREQUENT     three orders or more
--                            REGULAR      any other
--                          Exactly once.
--   bss.late.events        orders that came after their window had closed. At least once.
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
  -- Its windows take minutes: it fetches many orders at a time, which leaves the brokers more for others.
  'properties.fetch.min.bytes' = '1048576',
  'properties.fetch.max.wait.ms' = '500',
  'properties.group.id' = 'bss-flink-customer-analytics',
  -- Where there is no state to go on from, everything that the topic has is computed anew.
  'scan.startup.mode' = 'earliest-offset',
  -- A partition without orders for so long keeps no window open.
  'scan.watermark.idle-timeout' = '5 min',
  'format' = 'json'
) LIKE kafka (EXCLUDING ALL INCLUDING OPTIONS);

CREATE TABLE customer_orders (
  metric STRING,
  window_start BIGINT,
  window_end BIGINT,
  customer_id STRING,
  orders BIGINT,
  total_amount DECIMAL(38, 2),
  average_amount DECIMAL(38, 6),
  behaviour STRING
) WITH (
  'topic' = 'bss.analytics.events',
  'key.format' = 'raw',
  'key.fields' = 'customer_id',
  'value.format' = 'json',
  'value.json.encode.decimal-as-plain-number' = 'true',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = 'bss-flink-customer-analytics',
  'sink.transaction-naming-strategy' = 'pooling',
  'properties.transaction.timeout.ms' = '600000'
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

INSERT INTO customer_orders
SELECT
  'CUSTOMER_ORDERS',
  UNIX_TIMESTAMP(CAST(window_start AS STRING)) * 1000,
  UNIX_TIMESTAMP(CAST(window_end AS STRING)) * 1000,
  customer_id,
  COUNT(*),
  SUM(amount),
  AVG(amount),
  CASE
    WHEN SUM(amount) >= 5000 THEN 'HIGH_VALUE'
    WHEN COUNT(*) >= 3 THEN 'FREQUENT'
    ELSE 'REGULAR'
  END
FROM TUMBLE(TABLE orders, DESCRIPTOR(happened_at), INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, customer_id;

INSERT INTO late_orders
SELECT 'customer_analytics', window_end, event_id, event_time, customer_id, order_id, amount, status
FROM (SELECT *, (event_time / 300000 + 1) * 300000 AS window_end FROM orders)
WHERE TO_TIMESTAMP_LTZ(window_end - 1, 3) <= CURRENT_WATERMARK(happened_at);

END;
