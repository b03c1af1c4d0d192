-- Every kind of message that a plain pgoutput stream can hold.
CREATE TABLE items (id int4 PRIMARY KEY, name text, big text, tags text[], doc jsonb, is_open bool);
ALTER TABLE items ALTER big SET STORAGE EXTERNAL;
CREATE TABLE whole (id int4 PRIMARY KEY, name text, big text);
ALTER TABLE whole ALTER big SET STORAGE EXTERNAL;
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE indexed (id int4 PRIMARY KEY, code text NOT NULL UNIQUE, n int8);
ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_code_key;
CREATE TABLE "Odd name" (id int4 PRIMARY KEY, "Wert (é)" text);
CREATE TABLE parts (id int4, region text, n int4, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
CREATE TABLE parts_us PARTITION OF parts FOR VALUES IN ('us');
CREATE TABLE cleared (id int4 PRIMARY KEY);
CREATE TABLE cleared_too (id int4 PRIMARY KEY REFERENCES cleared);

INSERT INTO items SELECT i, 'item ' || i, NULL, ARRAY['a', 'b,' || i], jsonb_build_object('n', i), i % 2 = 0
FROM generate_series(1, 50) i;
UPDATE items SET big = repeat('x', 3000) WHERE id <= 3;
UPDATE items SET name = 'big stays' WHERE id = 1;
UPDATE items SET id = 1002 WHERE id = 2;
UPDATE items SET big = NULL WHERE id = 3;
DELETE FROM items WHERE id BETWEEN 40 AND 45;

BEGIN;
INSERT INTO whole VALUES (1, 'one', repeat('y', 3000)), (2, NULL, ''), (3, 'three', NULL);
UPDATE whole SET name = 'eins' WHERE id = 1;
UPDATE whole SET id = 22 WHERE id = 2;
DELETE FROM whole WHERE id = 3;
COMMIT;

BEGIN;
INSERT INTO indexed VALUES (1, 'a', 10), (2, 'b', 20);
SAVEPOINT before;
INSERT INTO indexed VALUES (3, 'c', 30);
ROLLBACK TO before;
UPDATE indexed SET code = 'A' WHERE id = 1;
UPDATE indexed SET n = 21 WHERE id = 2;
SELECT pg_logical_emit_message(true, 'inside', 'payload');
DELETE FROM indexed WHERE id = 2;
COMMIT;

SELECT pg_logical_emit_message(false, 'outside', 'payload');
BEGIN;
INSERT INTO items (id) VALUES (9999);
ROLLBACK;

BEGIN;
INSERT INTO items (id, name) VALUES (60, 'before the change');
ALTER TABLE items ADD added int4 DEFAULT 7;
INSERT INTO items (id, name, added) VALUES (61, 'after the change', 8);
ALTER TABLE items DROP tags;
UPDATE items SET added = 9 WHERE id = 60;
COMMIT;

INSERT INTO "Odd name" VALUES (1, 'ä€😀'), (2, '');
INSERT INTO parts VALUES (1, 'eu', 1), (2, 'us', 2);
UPDATE parts SET region = 'us' WHERE id = 1;

INSERT INTO cleared VALUES (1), (2);
INSERT INTO cleared_too VALUES (1);
TRUNCATE cleared, cleared_too RESTART IDENTITY CASCADE;
INSERT INTO cleared VALUES (3);

SELECT pg_replication_origin_create('elsewhere');
SELECT pg_replication_origin_session_setup('elsewhere');
INSERT INTO items (id, name) VALUES (70, 'from elsewhere');
SELECT pg_replication_origin_session_reset();
