// pg (node-postgres), statements prepared by name.
"use strict";
const contest = require("./contest.js");
const [pg, version] = contest.need("pg");

const pools = new Map();
const poolOf = (max) => {
    if (!pools.has(max)) pools.set(max, new pg.Pool({ connectionString: contest.url, max }));
    return pools.get(max);
};
const client = poolOf(1);

const point = (on) => on.query({ name: "point", text: "select * from bench_point where id = $1", values: [contest.key()] });
const constant = (i) => client.query({ name: "constant", text: "select $1::int", values: [i] });
const wide = async () => (await client.query({ name: "wide", text: contest.wide })).rows;

async function insert() {
    const one = await client.connect();
    await one.query("begin");
    for (const values of contest.insertRows)
        await one.query({ name: "insert", text: "insert into bench_insert values ($1, $2, $3, $4)", values });
    await one.query("commit");
    one.release();
}

async function pair() {
    (await poolOf(8).connect()).release();
}

async function idle(amount, watch) {
    const held = [];
    for (let i = 0; i < amount; i++) held.push(await poolOf(20).connect());
    for (const one of held) await one.query("select 1");
    for (const one of held) one.release();
    watch.resident(amount);
}

contest.serve("node pg " + version, {
    W1: contest.repeated(() => point(client)),
    W2: contest.repeated(constant),
    W3: contest.whole(wide),
    "W4.pg": contest.repeated(pair),
    W5: contest.workers(() => point(poolOf(8))),
    W6: contest.filling(() => client.query("truncate bench_insert"), insert),
    MEM: idle,
});
