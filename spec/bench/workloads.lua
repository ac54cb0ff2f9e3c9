--- What is measured: the groups of workloads, in the order of the table. A workload is called by its group's name, or
--- by that and a variant (W3.lazy); the contestants say which of them they have.
---   amount      what a contestant is asked for in one round
---   slices      into how many rounds one is divided: short ones, for what depends on how soon the system wakes a
---               process, which may change several-fold from one second to the next
---   per         what is counted
---   base        the contestant and workload whose figures are 1.00
---   bases       the same for some of the variants
---   growth      the contestants say by how much memory grew
---   memory      resident memory is measured while so many connections are held
---   once        one round only, with an amount of its own (a setting)
---   peak        the peak of resident memory is measured too, in processes of their own
---   note        printed below the title
return {
    {
        name = "W1", title = "point select by key, 1 connection, sequential", per = "query",
        amount = 5000, slices = 10, base = { "libpq", "W1" },
    },
    {
        name = "W2", title = "select $1::int, 1 connection, sequential", per = "query",
        amount = 5000, slices = 10, base = { "libpq", "W2" },
    },
    {
        name = "W3", title = "100,000 rows of 8 columns as native values, ten results", per = "row",
        amount = 10, base = { "libpq", "W3" }, peak = true,
        note = "C: text, every value touched. Peak: of one result and of ten, in a process that did only this.",
    },
    {
        name = "EACH", title = "as many rows as EACH_ROWS says, streamed", per = "row",
        base = { "libpq", "EACH" }, once = "each_rows", growth = true,
        note = "Memory: what the process grew by between row 100,000 and the last.",
    },
    {
        name = "W4", title = "acquire + release of an idle connection, statistics on", per = "pair",
        amount = 1000000, base = { "core", "W4.list" },
        bases = { ["W4.tidepool"] = { "rate", "W4.freelist" }, ["W4.freelist"] = { "rate", "W4.freelist" } },
        note = "1.00 is a mutex and a list in C; from Lua a free list behind two methods of a C module.",
    },
    {
        name = "W5", title = "W1 by 16 workers on 8 connections, one thread", per = "query",
        amount = 10000, slices = 10, base = { "libpq", "W5" },
    },
    {
        name = "W6", title = "10,000 parameterised inserts in one transaction", per = "row",
        amount = 3, slices = 3, base = { "libpq", "W6" },
    },
    {
        name = "W7", title = "the same rows by COPY", per = "row",
        amount = 10, slices = 5, base = { "libpq", "W7" }, bases = { ["W7.strings"] = { "libpq", "W7.strings" } },
        note = "strings: of text that is there already, 1.00 is C with such text; else C formats its rows as text.",
    },
    {
        name = "MEM", title = "memory of an idle connection in a pool of 20", per = "connection",
        base = { "libpq", "MEM" }, memory = { 0, 1, 20 },
        note = "What each after the first adds; the JSON also has what all 20 take, by 20 (memory_kb).",
    },
}
