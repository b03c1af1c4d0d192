CREATE TABLE trades (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol text NOT NULL,
    price numeric(12, 2) NOT NULL
);
ALTER TABLE trades REPLICA IDENTITY FULL;  -- so that an update's event has the old row too
