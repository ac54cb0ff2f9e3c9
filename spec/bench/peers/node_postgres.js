// postgres (postgres.js), which prepares and pipelines by itself.
"use strict";
const { Readable } = require("stream");
const { pipeline } = require("stream/promises");
const contest = require("./contest.js");
const [postgres, version] = contest.need("postgres");

const pools = new Map();
const poolOf = (max) => {
    if (!pools.has(max)) pools.set(max, postgres(contest.url, { max, idle_timeout: 0 }));
    return pools.get(max);
};
const sql = poolOf(1);

const point = (on) => on`select * from bench_point where id = ${contest.key()}`;
const constant = (i) => sql`select ${i}::int`;
const wide = () => sql`select * from bench_wide`;

const insert = () => sql.begin((tx) => contest.insertRows.map(([id, name, score, active]) =>
    tx`insert into bench_insert values (${id}, ${name}, ${score}, ${active})`));

function* lines() {
    for (const [id, name, score, active] of contest.insertRows) yield `${id}\t${name}\t${score}\t${active}\n`;
}

async function copy() {
    await pipeline(Readable.from(lines()), await sql`copy bench_insert from stdin`.writable());
}

async function idle(amount, watch) {
    const held = [];
    for (let i = 0; i < amount; i++) held.push(await poolOf(20).reserve());
    for (const one of held) await one`select 1`;
    for (const one of held) one.release();
    watch.resident(amount);
}

contest.serve("postgres.js " + version, {
    W1: contest.repeated(() => point(sql)),
    W2: contest.repeated(constant),
    W3: contest.whole(wide),
    W5: contest.workers(() => point(poolOf(8))),
    W6: contest.filling(() => sql`truncate bench_insert`, insert),
    W7: contest.filling(() => sql`truncate bench_insert`, copy),
    MEM: idle,
});
