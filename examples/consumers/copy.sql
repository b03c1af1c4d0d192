-- What the examples keep: a copy of the rows, and how far in the stream it is. Both change in one transaction.
CREATE TABLE rows (
    schema_name text,
    table_name text,
    key jsonb,            -- the values of the primary key's columns
    row jsonb NOT NULL,
    PRIMARY KEY (schema_name, table_name, key)
);
CREATE TABLE progress (
    stream text PRIMARY KEY,
    created text NOT NULL,     -- when the stream was made: another one of the same name counts from 1 again
    sequence bigint NOT NULL   -- of the last message that is in the copy
);
