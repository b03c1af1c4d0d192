-- The consumer's own database: what it has done, and by which messages.
CREATE TABLE received (id text PRIMARY KEY);
CREATE TABLE shipments (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL);
