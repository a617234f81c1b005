-- orders lie in the shard of their customer; products and services are in full on
-- every node. So each of these is checked on the node that holds the order.

-- A foreign key to a reference table wants one connection a node for the transaction.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';

ALTER TABLE orders ADD CONSTRAINT orders_customer_id_fkey
    FOREIGN KEY (customer_id) REFERENCES customers (customer_id);

ALTER TABLE orders ADD CONSTRAINT orders_product_id_fkey
    FOREIGN KEY (product_id) REFERENCES products (product_id);

ALTER TABLE orders ADD CONSTRAINT orders_service_id_fkey
    FOREIGN KEY (service_id) REFERENCES services (service_id);
