/* The watch over certificates: files that rotate, certificates that end, and what the
 * server showed.
 *
 * Files are looked at before each connection is made (a stat of each). What they have now
 * is checked as a whole, as opening does, and takes the place of the old: connections that
 * are being made keep what they began with, those that are there are not touched. What
 * does not pass leaves the old in force, so that files may be replaced one by one. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "database.h"
#include "error.h"
#include "pool_breaker.h"

enum { DAY = 86400 };
#define DAY_US (INT64_C(1000000) * DAY)

/* --------------------------------------------------------------- what is in force */

static struct tp_keyring *keyring_of(struct tp_database *database)
{
    tp__pool_lock(database->pool);
    struct tp_keyring *keyring = tp__keyring_retain(database->tls.keyring);
    pthread_mutex_unlock(&database->pool->lock);
    return keyring;
}

/* Puts `fresh` in the place of `old`, unless somebody else was first. Takes both. */
static bool replace(struct tp_database *database, struct tp_keyring *old, struct tp_keyring *fresh)
{
    tp__pool_lock(database->pool);
    bool replaced = database->tls.keyring == old;
    if (replaced) {
        database->tls.keyring = fresh;
        database->tls.trouble[0] = '\0';
        database->tls.told_at = 0;
        tp__breaker_forgive_locked(database->pool);
    }
    pthread_mutex_unlock(&database->pool->lock);
    tp__keyring_release(replaced ? old : fresh);
    tp__keyring_release(old);
    return replaced;
}

/* Notes why files are not used. True when that is news. */
static bool note_trouble(struct tp_database *database, const struct tp_error *err)
{
    char *trouble = database->tls.trouble;
    tp__pool_lock(database->pool);
    bool news = strncmp(trouble, err->message, sizeof database->tls.trouble - 1) != 0;
    tp__text_copy(trouble, sizeof database->tls.trouble, err->message);
    pthread_mutex_unlock(&database->pool->lock);
    return news;
}

static void follow_files(struct tp_database *database)
{
    struct tp_error err;
    struct tp_keyring *old = keyring_of(database), *fresh = NULL;
    if (old == NULL || !tp__keyring_is_stale(old)) {
        tp__keyring_release(old);
        return;
    }
    if (tp__keyring_renew(&fresh, old, NULL, &err) == TP_OK) {
        if (replace(database, old, fresh))
            tp__pool_event(database->pool, TP_EVENT_TLS_RELOAD, 0, 0, NULL,
                           "certificates have changed: new connections use the new ones");
        return;
    }
    if (note_trouble(database, &err))
        tp__pool_event(database->pool, TP_EVENT_TLS_RELOAD, 0, 0, NULL,
                       "certificates have changed, but the old ones stay in use: %.380s",
                       err.message);
    tp__keyring_release(old);
}

struct tp_keyring *tp__database_keyring(struct tp_database *database)
{
    follow_files(database);
    return keyring_of(database);
}

enum tp_status tp_pool_reload_tls(tp_pool *pool, const struct tp_tls_values *values,
                                  struct tp_error *err)
{
    struct tp_database *database = tp__database_of(pool);
    struct tp_keyring *old, *fresh;
    if (tp_pool_is_closed(pool))
        return tp__error_set(err, TP_ERR_POOL_CLOSED, "the pool is closed");
    do {
        old = keyring_of(database);
        if (old == NULL)
            return tp__error_set(err, TP_ERR_VALIDATION, "TLS is off: there is nothing to reload");
        enum tp_status status = tp__keyring_renew(&fresh, old, values, err);
        if (status != TP_OK) {
            tp__keyring_release(old);
            return status;
        }
    } while (!replace(database, old, fresh));
    tp__pool_bump_epoch(pool, TP_CLOSE_REPLACED);
    return TP_OK;
}

/* ----------------------------------------------------------------------- state */

void tp__database_note_tls(struct tp_database *database, const struct tp_conn *conn)
{
    struct tp_tls_state seen;
    tp__conn_describe_tls(conn, &seen);
    tp__pool_lock(database->pool);
    database->tls.seen = seen;
    pthread_mutex_unlock(&database->pool->lock);
}

void tp_pool_tls(tp_pool *pool, struct tp_tls_state *out)
{
    struct tp_database *database = tp__database_of(pool);
    tp__pool_lock(pool);
    *out = database->tls.seen;
    if (database->tls.keyring != NULL) {
        const struct tp_tls *tls = tp__keyring_tls(database->tls.keyring);
        out->own = tls->own;
        out->crl_until = tls->crl_until;
        if (!out->ca.known)
            out->ca = tls->authority;
    }
    memcpy(out->trouble, database->tls.trouble, sizeof out->trouble);
    pthread_mutex_unlock(&pool->lock);
}

/* -------------------------------------------------------------------- warnings */

int tp_tls_days(int64_t then, int64_t now)
{
    int64_t left = then - now;
    return (int)((left >= 0 ? left : left - DAY + 1) / DAY);
}

/* One thing that ends. */
struct ending {
    const char *of, *what, *name;
    int64_t at; /* 0: there is none */
    int from;   /* how many days before it is warned of */
};

static bool is_ending(const struct ending *ending, int64_t now)
{
    return ending->at != 0 && tp_tls_days(ending->at, now) < ending->from;
}

static void spell_ending(const struct ending *ending, int64_t now, struct tp_tls_warning *out)
{
    char when[32] = "";
    struct tm tm;
    time_t at = (time_t)ending->at;
    if (gmtime_r(&at, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    out->name = "tls_expiring";
    out->of = ending->of;
    out->days_left = tp_tls_days(ending->at, now);
    snprintf(out->message, sizeof out->message, "%s%s%.255s%s %s on %s", ending->what,
             ending->name[0] != '\0' ? " (" : "", ending->name, ending->name[0] != '\0' ? ")" : "",
             ending->at < now ? "expired" : "expires", when);
}

bool tp_tls_warning(const struct tp_tls_state *state, int64_t now, size_t i,
                    struct tp_tls_warning *out)
{
    const struct ending endings[] = {
        {"server", "the server's certificate", state->server.subject, state->server.not_after,
         TP_TLS_EXPIRING_DAYS},
        {"cert", "the client's certificate (tls.cert)", state->own.subject, state->own.not_after,
         TP_TLS_EXPIRING_DAYS},
        {"ca", "the certificate that the server is verified by (tls.ca)", state->ca.subject,
         state->ca.not_after, TP_TLS_EXPIRING_DAYS},
        {"crl", "the list of revoked certificates (tls.crl)", "", state->crl_until,
         TP_TLS_CRL_EXPIRING_DAYS},
    };
    for (size_t e = 0; e < sizeof endings / sizeof *endings; e++) {
        if (is_ending(&endings[e], now) && i-- == 0) {
            spell_ending(&endings[e], now, out);
            return true;
        }
    }
    if (i != 0 || state->trouble[0] == '\0')
        return false;
    *out = (struct tp_tls_warning){.name = "tls_reload", .of = ""};
    memcpy(out->message, state->trouble, sizeof out->message);
    return true;
}

/* A day after the last time, or at once. */
static bool is_time_to_tell(struct tp_database *database)
{
    int64_t now = tp_now();
    tp__pool_lock(database->pool);
    bool due = (database->tls.keyring != NULL || database->tls.seen.encrypted) &&
               (database->tls.told_at == 0 || now - database->tls.told_at >= DAY_US);
    if (due)
        database->tls.told_at = now;
    pthread_mutex_unlock(&database->pool->lock);
    return due;
}

void tp__database_watch_certificates(struct tp_database *database)
{
    struct tp_tls_state state;
    struct tp_tls_warning warning;
    if (!is_time_to_tell(database))
        return;
    tp_pool_tls(database->pool, &state);
    int64_t now = (int64_t)time(NULL);
    for (size_t i = 0; tp_tls_warning(&state, now, i, &warning); i++) {
        if (strcmp(warning.name, "tls_expiring") == 0)
            tp__pool_event(database->pool, TP_EVENT_TLS_EXPIRING, 0, 0, NULL, "%s",
                           warning.message);
    }
}
