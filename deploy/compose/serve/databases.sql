-- Three databases of one server, as three teams would have them.
CREATE DATABASE shop;
CREATE DATABASE stock;
CREATE DATABASE billing;
\connect shop
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, total numeric(12, 2));
INSERT INTO orders (customer, total) VALUES ('ACME', 12.50), ('Globex', 7.25);
\connect stock
CREATE TABLE parts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, pieces int NOT NULL);
INSERT INTO parts (name, pieces) VALUES ('bolt', 1000), ('nut', 990);
\connect billing
CREATE TABLE invoices (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint, due date);
INSERT INTO invoices (order_id, due) VALUES (1, '2030-01-01');
