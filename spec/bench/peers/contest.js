// What the contestants on node have in common: the conversation with the runner, told in ../contest.h.
"use strict";
const fs = require("fs");
const path = require("path");
const readline = require("readline");

exports.url = process.env.DATABASE_URL;
exports.wide = "select * from bench_wide";
exports.key = () => 1 + Math.floor(Math.random() * 100000);
exports.insertRows = Array.from({ length: 10000 }, (_, i) => [i + 1, `name ${i + 1}`, (i + 1) * 0.5, (i + 1) % 3 === 0]);

// A module and its version, or the end of the program when it is not installed.
exports.need = (name) => {
    try {
        const about = path.join(process.env.NODE_PATH, name, "package.json");
        return [require(name), JSON.parse(fs.readFileSync(about)).version];
    } catch (problem) {
        console.log(`absent\t${name} is not installed for node`);
        process.exit(0);
    }
};

class Watch {
    constructor() {
        this.operations = this.seconds = this.cpu = this.kb = 0;
    }
    start() {
        this.beganCpu = process.cpuUsage();
        this.began = process.hrtime.bigint();
    }
    stop(operations) {
        const cpu = process.cpuUsage(this.beganCpu);
        this.seconds += Number(process.hrtime.bigint() - this.began) / 1e9;
        this.cpu += (cpu.user + cpu.system) / 1e6;
        this.operations += operations;
    }
    resident(connections) {
        this.operations = connections;
        this.kb = Math.round(process.memoryUsage().rss / 1024);
    }
}

async function answer(run, amount) {
    const watch = new Watch();
    try {
        await run(amount, watch);
        return `ok\toperations=${watch.operations}\tseconds=${watch.seconds}\tcpu=${watch.cpu}\tkb=${watch.kb}`;
    } catch (problem) {
        return "failed\t" + String(problem).replace(/\s+/g, " ");
    }
}

// workloads: {name: async (amount, watch) => ...}
exports.serve = async (label, workloads) => {
    const say = (line) => fs.writeSync(1, line + "\n");
    say(`ready\t${label}\t${Object.keys(workloads).join(" ")}`);
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const [name, amount] = line.split(" ");
        say(await answer(workloads[name], Number(amount)));
    }
    process.exit(0);
};

// A workload: `once(i)` so many times, one after another.
exports.repeated = (once) => async (amount, watch) => {
    watch.start();
    for (let i = 0; i < amount; i++) await once(i);
    watch.stop(amount);
};

// A workload: `result()` resolves to rows.
exports.whole = (result) => async (amount, watch) => {
    for (let i = 0; i < amount; i++) {
        watch.start();
        const rows = await result();
        watch.stop(rows.length);
    }
};

// A workload of 16 workers that share what is to be done.
exports.workers = (once) => async (amount, watch) => {
    let left = amount;
    const work = async () => {
        while (left > 0) {
            left--;
            await once();
        }
    };
    watch.start();
    await Promise.all(Array.from({ length: 16 }, work));
    watch.stop(amount);
};

// A workload that fills an empty table.
exports.filling = (truncate, fill) => async (amount, watch) => {
    for (let i = 0; i < amount; i++) {
        await truncate();
        watch.start();
        await fill();
        watch.stop(exports.insertRows.length);
    }
};
