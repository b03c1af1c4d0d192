-- One column of each type; the rows hold ordinary values, the edges of each type, and NULLs.
CREATE TYPE mood AS ENUM ('sad', 'ok, "fine"');
CREATE TYPE pair AS (n int4, t text);
CREATE DOMAIN positive AS int4 CHECK (VALUE > 0);
CREATE DOMAIN tags AS text[];
CREATE DOMAIN moment AS timestamptz;
CREATE TABLE types (
    id int4 PRIMARY KEY,
    c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_oid oid, c_numeric numeric,
    c_float4 float4, c_float8 float8,
    c_text text, c_varchar varchar(20), c_bpchar char(4), c_name name, c_char "char", c_enum mood, c_xml text,
    c_uuid uuid, c_json json, c_jsonb jsonb,
    c_date date, c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
    c_bytea bytea, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_bit bit(3), c_varbit varbit, c_money money,
    c_pg_lsn pg_lsn, c_tsvector tsvector, c_point point, c_box box, c_int4range int4range, c_multirange int4multirange,
    c_pair pair, c_positive positive, c_tags tags, c_moment moment,
    a_bool bool[], a_int4 int4[], a_numeric numeric[], a_float8 float8[], a_text text[], a_json json[], a_jsonb jsonb[],
    a_bytea bytea[], a_timestamp timestamp[], a_timestamptz timestamptz[], a_box box[], a_mood mood[], a_uuid uuid[]
);
INSERT INTO types VALUES (
    1, true, -32768, 2147483647, 9223372036854775807, 4294967295, 5.00,
    0.1, 1e300,
    E'a "b" \\ \t\n é 😀', 'v', 'c', 'n', 'x', 'ok, "fine"', '<a/>',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"a":  1, "a": 12345678901234567890.10}',
    '{"b": [1.50, null, "x"], "n": 12345678901234567890}',
    '2026-02-03', '24:00:00', '12:34:56.789+05:30', '2026-01-02 03:04:05.1', '2026-01-02 03:04:05+02',
    '1 year 2 mons -3 days 04:05:06.789',
    '\xdeadbeef', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', '101', '10110', 1234.5,
    '16/B374D848', 'a:1 fat:2', '(1,2)', '((1,2),(3,4))', '[1,6)', '{[1,3),[5,8)}',
    '(1,"x,""y"" z")', 7, '{a,NULL}', '2026-01-02 03:04:05.000001+00',
    '{t,NULL,f}', '{{1,NULL},{3,4}}', '{1.50,NaN}', '{0.1,NaN,Infinity}',
    ARRAY['a', 'b,c', 'q"x', NULL, 'NULL', '', 'back\slash', '{x}', ' '],
    ARRAY['{"a": [1, 2]}'::json, 'null', '"s"', NULL], ARRAY['{"a": "q\"x"}'::jsonb, '1'],
    ARRAY['\x00ff'::bytea, '\x'], ARRAY['2026-01-02 03:04:05'::timestamp, 'infinity'],
    ARRAY['2026-01-02 03:04:05+00'::timestamptz, '-infinity', NULL], ARRAY['((1,2),(3,4))'::box, '((5,6),(7,8))'],
    ARRAY['sad', 'ok, "fine"']::mood[], ARRAY['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid]
);
INSERT INTO types (id) VALUES (2);
INSERT INTO types (
    id, c_bool, c_int2, c_int4, c_int8, c_oid, c_numeric, c_float4, c_float8, c_text, c_json,
    c_date, c_timestamp, c_timestamptz, c_bytea, c_int4range, a_int4, a_text, a_timestamptz
) VALUES (
    3, false, 0, -2147483648, -9223372036854775808, 0, 'NaN', 'NaN', '-Infinity', '', E'{\n  "a": 1\n}',
    '0044-03-15 BC', 'infinity', '0044-03-15 12:00:00+00 BC', '\x', 'empty', '[0:2]={1,2,3}', '{}', '{}'
);
INSERT INTO types (id, c_numeric, c_float4, c_float8, c_date, c_timestamp, c_timestamptz, a_int4, a_text) VALUES (
    4, 123456789012345678901234567890.123456789, 1e-45, '-0', '12345-01-01', '12345-01-01 00:00:00.5',
    '294276-12-31 23:59:59.999999+00', '[-1:0][2:3]={{1,2},{3,4}}', '{{{{{{deep}}}}}}'
);
INSERT INTO types (id, c_numeric, c_float8, c_date, c_timestamp, c_timestamptz, c_text) VALUES (
    5, '0.000000000000000000000000000001', 1.7976931348623157e308, 'infinity', '0001-01-01 00:00:00 BC', '-infinity', 'NULL'
);
