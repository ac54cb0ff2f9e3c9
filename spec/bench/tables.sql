-- What the workloads of `make bench` read and fill.
\set ON_ERROR_STOP on
set client_min_messages = warning;

-- W1, W5: one row by its key.
create table bench_point (id int primary key, name text not null, amount int8 not null, score float8, active bool);
insert into bench_point select i, 'name ' || i, i * 1000000007::int8, i * 0.37, i % 3 = 0 from generate_series(1, 100000) i;

-- EACH: as many rows of the same eight types as asked for, made while they are read. An SQL function that the planner
-- inlines, so nothing is kept on the server either.
create function bench_series(int) returns table (
    id int4, big int8, score float8, name text, active bool, made timestamptz, price numeric(12,2), note text
) language sql stable as $$
    select i, i * 1000000007::int8, i * 0.37::float8, 'row number ' || i, i % 3 = 0,
           timestamptz '2020-01-01 00:00:00.123456+00' + i * interval '1.5 seconds', (i * 0.01)::numeric(12,2),
           case when i % 2 = 0 then 'a note of ' || i end
    from (select generate_series(1, $1) as i) as series
$$;

-- W3: 100,000 rows of eight columns.
create table bench_wide as select * from bench_series(100000);

-- W6, W7: what is inserted and copied. Logged, as a user's tables are.
create table bench_insert (id int4 not null, name text, score float8, active bool);

vacuum (analyze, freeze);
checkpoint;
