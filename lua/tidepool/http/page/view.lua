-- The page's script, last part: what is on the page, and asking for it every two seconds.
return [==[

const EVERY_MS = 2000;
const GIVE_UP_MS = 5000;

/* ---------------------------------------------------------------- tiles */

const tiles = {};
for (const [key, name] of [["connections", "Connections"], ["waiting", "Waiting"], ["rate", "Queries/s"],
    ["latency", "Query p95"], ["failures", "Failures/s"], ["breaker", "Breaker"], ["answer", "Round trip"],
    ["budget", "Processes"]]) {
  const root = make("div", "tile");
  const tile = { value: make("div", "value", dash), more: make("div", "more", "") };
  root.append(make("div", "name", name), tile.value, tile.more);
  byId("tiles").append(root);
  tiles[key] = tile;
}

function setTile(key, value, more, level) {
  setText(tiles[key].value, value);
  setText(tiles[key].more, more || "");
  tiles[key].value.className = "value" + (level ? " " + level : "");
}

function showTiles(data, last) {
  const stats = data.stats, health = data.health, limit = stats.limit || stats.max;
  const full = stats.active_connections >= limit;
  setTile("connections", stats.active_connections + "\u202f/\u202f" + limit,
    stats.idle_connections + " idle, " + stats.connecting + " connecting", full ? "warn" : "");
  setTile("waiting", texts.count(stats.waiting_requests), texts.count(stats.acquire_timeouts) + " timed out so far",
    stats.waiting_requests > 0 ? "warn" : "");
  setTile("rate", texts.rate(last.queries), texts.count(stats.queries) + " in all");
  const recent = isNumber(last.p95);
  setTile("latency", texts.ms(recent ? last.p95 : stats.query.p95_ms),
    recent ? "p99 " + texts.ms(last.p99) : "of all; p99 " + texts.ms(stats.query.p99_ms));
  setTile("failures", texts.rate(last.failures), texts.count(stats.query_failures) + " in all, "
    + (100 * (1 - stats.success_rate)).toFixed(2) + "\u202f%", last.failures > 0 ? "bad" : "");
  setTile("breaker", stats.breaker.replace("_", " "), isNumber(data.next_try_ms)
    ? "next try in " + texts.ms(data.next_try_ms) : texts.count(stats.fail_fast) + " calls failed fast",
    stats.breaker === "closed" ? "" : "bad");
  setTile("answer", health.error ? dash : texts.ms(health.latency_ms),
    health.error ? "no: " + health.error.kind : "at " + texts.clock(health.checked_at),
    health.error ? "bad" : health.latency_ms > 1000 ? "warn" : "");
  const budget = stats.budget;
  setTile("budget", texts.count(stats.processes || (budget ? budget.processes : 1)),
    budget ? "budget: " + budget.used + " of " + budget.max : "no budget",
    budget && budget.used >= budget.max ? "warn" : "");
}

/* --------------------------------------------------------------- charts */

const charts = {
  connections: new Chart({ title: "Connections", unit: texts.count, stacked: true, least: 2, series: [
    { name: "active", key: "active", color: "blue" }, { name: "idle", key: "idle", color: "sky" },
    { name: "connecting", key: "connecting", color: "amber" }, { name: "mending", key: "mending", color: "violet" }] }),
  waiting: new Chart({ title: "Waiting for a connection", unit: texts.count, least: 2, series: [
    { name: "callers", key: "waiting", color: "amber" }] }),
  rate: new Chart({ title: "Queries per second", unit: texts.rate, least: 2, series: [
    { name: "queries", key: "queries", color: "blue" }, { name: "failures", key: "failures", color: "red" }] }),
  latency: new Chart({ title: "How long queries take", unit: texts.ms, least: 1, series: [
    { name: "p99", key: "p99", color: "red" }, { name: "p95", key: "p95", color: "amber" },
    { name: "p50", key: "p50", color: "blue" }] }),
};
for (const key in charts) byId("charts").append(charts[key].root);

/* ---------------------------------------------------------------- lists */

const lists = {
  blockers: new Table({ title: "Backends that wait for locks", wide: true, empty: "No backend waits for another.",
    columns: [
      { name: "pid", key: "pid", kind: "plain" }, { name: "blocked by", key: "blocked_by", kind: "plain" },
      { name: "for", key: "wait_ms", kind: "ms" }, { name: "state", key: "state", kind: "plain" },
      { name: "query", key: "query", kind: "sql" }] }),
  statements: new Table({ title: "Statements", wide: true, sort: "total_ms", empty: "None yet.", columns: [
    { name: "statement", key: "query", kind: "sql" }, { name: "total", key: "total_ms", kind: "ms" },
    { name: "calls", key: "calls", kind: "count" }, { name: "mean", key: "mean_ms", kind: "ms" },
    { name: "p99", key: "p99_ms", kind: "ms" }, { name: "max", key: "max_ms", kind: "ms" },
    { name: "rows", key: "rows", kind: "count" }, { name: "errors", key: "errors", kind: "count" }] }),
  slow: new Table({ title: "Slow queries", wide: true, empty: "None so far.", columns: [
    { name: "at", key: "time", kind: "clock" }, { name: "took", key: "duration_ms", kind: "ms" },
    { name: "query", key: "query", kind: "sql" }, { name: "place", key: "place", kind: "plain" },
    { name: "plan", key: "plan", kind: "sql" }] }),
  holders: new Table({ title: "Who holds connections", wide: true, sort: "age_ms", empty: "Nobody.", columns: [
    { name: "for", key: "age_ms", kind: "ms" }, { name: "backend", key: "backend_pid", kind: "plain" },
    { name: "transaction", key: "transaction", kind: "plain" }, { name: "statement", key: "sql", kind: "sql" },
    { name: "place", key: "place", kind: "plain" }] }),
  errors: new Counters("Errors", "None."),
  pool: new Counters("Pool", "None."),
};
for (const key in lists) byId("lists").append(lists[key].root);

function showErrors(data) {
  const stats = data.stats, rows = [];
  for (const kind of Object.keys(stats.errors).sort()) rows.push([kind.replace(/_/g, " "), stats.errors[kind], true]);
  const classes = stats.errors_by_class || {};
  for (const name of Object.keys(classes).sort()) rows.push(["SQLSTATE class " + name, classes[name], true]);
  lists.errors.update(data.time, rows);
}

/* Fields of the statistics, with what they are called here; those that are not there are left out. */
const counted = [["acquires", "connections lent"], ["acquire_timeouts", "callers that timed out", true],
  ["created", "connections made"], ["connect_failures", "attempts to connect that failed", true],
  ["retries", "repetitions"], ["rollbacks", "returned in an open transaction", true], ["leaks", "leaks", true],
  ["slow_queries", "slow queries", true], ["statements_prepared", "statements prepared"],
  ["statement_hits", "statements that were prepared already"], ["listeners", "listeners"],
  ["notifications", "notifications"]];

function showPool(data) {
  const stats = data.stats, rows = [];
  for (const [field, name, bad] of counted) {
    if (isNumber(stats[field])) rows.push([name, stats[field], bad]);
  }
  const ended = stats.transactions;
  if (ended) rows.push(["transactions committed", ended.committed], ["transactions rolled back", ended.rolled_back]);
  for (const reason of Object.keys(stats.closed).sort()) {
    if (stats.closed[reason] > 0) rows.push(["closed: " + reason.replace(/_/g, " "), stats.closed[reason],
      reason === "dead" || reason === "in_doubt" || reason === "server_gone"]);
  }
  lists.pool.update(data.time, rows);
}

function showLists(data) {
  lists.blockers.update(data.blockers.map((row) => Object.assign({}, row, {
    blocked_by: Array.isArray(row.blocked_by) ? row.blocked_by.join(", ") : row.blocked_by })));
  lists.statements.update(data.statements);
  lists.slow.update(data.slow_queries);
  lists.holders.update(data.holders);
  showErrors(data);
  showPool(data);
}

/* ----------------------------------------------------------------- head */

const levels = { healthy: "good", degraded: "warn", unhealthy: "bad" };

function showHead(data) {
  const health = data.health;
  setText(byId("pool"), data.pool);
  setText(byId("service"), data.service === data.pool ? "" : data.service);
  setText(byId("verdict"), health.status);
  byId("verdict").className = "badge " + (levels[health.status] || "");
  setText(byId("since"), data.state.replace("_", " ") + " for " + texts.age(data.time - data.since));
  const warnings = data.tls_warnings.map((warning) => warning.message);
  setText(byId("reasons"), health.reasons.concat(warnings).join("; "));
  const level = health.reasons.length ? levels[health.status] : warnings.length ? "warn" : "";
  byId("reasons").className = "reasons " + level;
  setText(byId("version"), "tidepool " + data.version + "; queries are slow from " + texts.ms(data.slow_ms) + " on");
  document.title = (health.status === "healthy" ? "" : health.status + ": ") + data.pool;
}

function show(data) {
  const bounds = (data.stats.query.buckets || []).map((bucket) => bucket.le_ms);
  remember(data.history);
  const points = pointsOf(bounds);
  showHead(data);
  showTiles(data, points[points.length - 1] || {});
  charts.connections.update(points, data.stats.limit || data.stats.max);
  for (const key of ["waiting", "rate", "latency"]) charts[key].update(points);
  showLists(data);
}

/* -------------------------------------------------------------- polling */

let updated = null; /* when data came last */
let timer = null;

function setFreshness(isFresh, text) {
  document.body.classList.toggle("live", isFresh);
  document.body.classList.toggle("stale", !isFresh && updated !== null);
  byId("main").setAttribute("aria-busy", String(updated === null));
  setText(byId("updated"), text);
}

function complain(err) {
  const why = err.name === "TimeoutError" || err.name === "AbortError" ? "no answer in time" : err.message;
  setFreshness(false, updated === null ? "no data: " + why
    : "stale since " + updated.toLocaleTimeString("en-GB") + ": " + why);
  setText(byId("verdict"), "no data");
  byId("verdict").className = "badge bad";
  document.title = "no data: " + byId("pool").textContent;
}

async function ask() {
  const since = samples.length ? samples[samples.length - 1].time : 0;
  const answer = await fetch("data.json?since=" + since,
    { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (!answer.ok) throw new Error("the service says " + answer.status);
  show(await answer.json());
  updated = new Date();
  setFreshness(true, "updated " + updated.toLocaleTimeString("en-GB"));
}

let asking = false;

async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    await ask();
  } catch (err) {
    complain(err);
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(poll, EVERY_MS);
}

/* Nothing is asked while nobody looks. */
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (document.hidden) setFreshness(false, "paused while this page is hidden");
  else poll();
});
poll();
]==]
