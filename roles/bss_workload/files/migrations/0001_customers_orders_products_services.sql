-- The tables of BSS. Foreign keys come in 0002: by then the tables are distributed,
-- and between distributed tables Citus allows them only when these are colocated.

CREATE TABLE products (
    product_id integer       PRIMARY KEY,
    sku        text          NOT NULL UNIQUE,
    name       text          NOT NULL,
    category   text          NOT NULL,
    price      numeric(12,2) NOT NULL CHECK (price >= 0)
);

CREATE TABLE services (
    service_id  integer       PRIMARY KEY,
    name        text          NOT NULL,
    monthly_fee numeric(12,2) NOT NULL CHECK (monthly_fee >= 0)
);

CREATE TABLE customers (
    customer_id uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text        NOT NULL,
    email       text        NOT NULL,
    status      text        NOT NULL DEFAULT 'ACTIVE'
                            CHECK (status IN ('ACTIVE', 'SUSPENDED', 'CLOSED')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Not unique: a unique key of a distributed table has to contain customer_id.
CREATE INDEX customers_email_idx ON customers (email);

-- The key begins with customer_id, so that the orders of a customer lie in one
-- shard and are found by the key.
CREATE TABLE orders (
    customer_id uuid          NOT NULL,
    order_id    uuid          NOT NULL DEFAULT gen_random_uuid(),
    product_id  integer       NOT NULL,
    service_id  integer,
    quantity    integer       NOT NULL DEFAULT 1 CHECK (quantity > 0),
    amount      numeric(12,2) NOT NULL CHECK (amount >= 0),
    status      text          NOT NULL DEFAULT 'PENDING'
                              CHECK (status IN ('PENDING', 'IN_PROGRESS', 'COMPLETED',
                                                'CANCELLED', 'FAILED')),
    created_at  timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, order_id)
);
