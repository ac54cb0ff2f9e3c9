#include "stats_table.h"

static void set_count(lua_State *L, const char *field, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

static void set_ms(lua_State *L, const char *field, int64_t us)
{
    lua_pushnumber(L, (lua_Number)us / 1000);
    lua_setfield(L, -2, field);
}

/* Cumulative, as Prometheus has them. */
static void set_buckets(lua_State *L, const struct tp_latency *latency)
{
    lua_createtable(L, TP_LATENCY_BOUNDS, 0);
    for (int i = 0; i < TP_LATENCY_BOUNDS; i++) {
        lua_createtable(L, 0, 2);
        set_ms(L, "le_ms", tp_latency_bounds[i]);
        set_count(L, "count", latency->up_to[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "buckets");
}

static void set_latency(lua_State *L, const char *field, const struct tp_latency *latency,
                        bool buckets)
{
    lua_createtable(L, 0, 9);
    set_count(L, "count", latency->count);
    set_ms(L, "sum_ms", (int64_t)latency->sum);
    set_ms(L, "mean_ms", latency->mean);
    set_ms(L, "p50_ms", latency->p50);
    set_ms(L, "p95_ms", latency->p95);
    set_ms(L, "p99_ms", latency->p99);
    set_ms(L, "p999_ms", latency->p999);
    set_ms(L, "max_ms", latency->max);
    if (buckets)
        set_buckets(L, latency);
    lua_setfield(L, -2, field);
}

static void set_connections(lua_State *L, const struct tp_stats *stats)
{
    set_count(L, "total_connections", (uint64_t)stats->total);
    set_count(L, "idle_connections", (uint64_t)stats->idle);
    set_count(L, "active_connections", (uint64_t)stats->active);
    set_count(L, "connecting", (uint64_t)stats->connecting);
    set_count(L, "mending", (uint64_t)stats->mending);
    set_count(L, "waiting_requests", (uint64_t)stats->waiting);
    set_count(L, "max", (uint64_t)stats->max);
    set_count(L, "limit", (uint64_t)stats->limit);
    set_count(L, "min", (uint64_t)stats->min);
}

/* Only where there is one. */
static void set_budget(lua_State *L, const struct tp_stats *stats)
{
    if (stats->budget_max == 0)
        return;
    lua_createtable(L, 0, 3);
    set_count(L, "max", (uint64_t)stats->budget_max);
    set_count(L, "used", (uint64_t)stats->budget_used);
    set_count(L, "processes", (uint64_t)stats->budget_processes);
    lua_setfield(L, -2, "budget");
}

static void set_counters(lua_State *L, const struct tp_stats *stats)
{
    lua_pushstring(L, tp_breaker_state_name(stats->breaker));
    lua_setfield(L, -2, "breaker");
    set_count(L, "fail_fast", stats->fail_fast);
    set_count(L, "acquires", stats->acquires);
    set_count(L, "acquire_timeouts", stats->acquire_timeouts);
    set_count(L, "acquire_cancels", stats->acquire_cancels);
    set_count(L, "created", stats->connects);
    set_count(L, "connect_failures", stats->connect_failures);
    set_count(L, "queries", stats->queries);
    set_count(L, "query_failures", stats->query_failures);
    set_count(L, "retries", stats->retries);
    set_count(L, "retries_refused", stats->retries_refused);
    set_count(L, "rollbacks", stats->rollbacks);
    set_count(L, "leaks", stats->leaks);
    set_count(L, "slow_queries", stats->slow_queries);
    set_count(L, "statements_prepared", stats->statements_prepared);
    set_count(L, "statement_hits", stats->statement_hits);
    set_count(L, "statement_evictions", stats->statement_evictions);
    double good = (double)(stats->queries - stats->query_failures);
    lua_pushnumber(L, stats->queries > 0 ? good / (double)stats->queries : 1.0);
    lua_setfield(L, -2, "success_rate");
}

static void set_closed(lua_State *L, const struct tp_stats *stats)
{
    lua_createtable(L, 0, TP_CLOSE_REASONS);
    for (int reason = 0; reason < TP_CLOSE_REASONS; reason++)
        set_count(L, tp_close_reason_name((enum tp_close_reason)reason), stats->closed[reason]);
    lua_setfield(L, -2, "closed");
}

static void set_errors(lua_State *L, const struct tp_stats *stats)
{
    lua_newtable(L);
    for (int kind = TP_ERR_DATABASE; kind <= TP_ERR_MEMORY; kind++) {
        if (stats->errors_by_kind[kind] > 0)
            set_count(L, tp_status_name((enum tp_status)kind), stats->errors_by_kind[kind]);
    }
    lua_setfield(L, -2, "errors");
}

static void set_classes(lua_State *L, const struct tp_stats *stats)
{
    lua_newtable(L);
    for (int i = 0; i < TP_ERROR_CLASSES; i++) {
        if (stats->errors_by_class[i].code[0] != '\0')
            set_count(L, stats->errors_by_class[i].code, stats->errors_by_class[i].count);
    }
    lua_setfield(L, -2, "errors_by_class");
}

static void set_transactions(lua_State *L, const struct tp_stats *stats)
{
    lua_createtable(L, 0, 2);
    set_count(L, "committed", stats->committed);
    set_count(L, "rolled_back", stats->rolled_back);
    lua_setfield(L, -2, "transactions");
}

void tpb_push_stats(lua_State *L, const struct tp_stats *stats, bool buckets)
{
    lua_createtable(L, 0, 44);
    set_connections(L, stats);
    set_budget(L, stats);
    set_counters(L, stats);
    set_closed(L, stats);
    set_errors(L, stats);
    set_classes(L, stats);
    set_transactions(L, stats);
    set_latency(L, "wait", &stats->wait, buckets);
    set_latency(L, "connect", &stats->connect, buckets);
    set_latency(L, "query", &stats->query, buckets);
    set_latency(L, "transaction", &stats->transaction, buckets);
    set_latency(L, "held", &stats->held, buckets);
}
