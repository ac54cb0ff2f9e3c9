#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "error.h"
#include "shm.h"

/* The last digits change with the layout. */
#define MAGIC UINT64_C(0x7469646573740002)

enum { ENTRY_FREE, ENTRY_LIVE };

struct entry {
    _Atomic uint32_t state; /* LIVE: its owner holds its place, or has just died */
    _Atomic int32_t pid;    /* of the owner, in its own namespace */
    _Atomic uint64_t space; /* which namespace that is */
    _Atomic int32_t gauges[TP_GAUGES];
    struct tp_tally tally; /* all zero while FREE */
};

/* Guarded by the lock of the file, but for what an owner writes into its own entry. */
struct segment {
    _Atomic uint64_t magic;
    _Atomic uint32_t high; /* entries from here on have never been used */
    /* Which process has started the workers that leave their totals here; 0: none. */
    _Atomic int32_t parent;
    _Atomic uint64_t parent_space, parent_start;
    /* Which of the two `departed` counts, in the last bit; above it, the number of the entry that
     * has just been added there and is to be cleared, from 1 on. One word, so that whoever is
     * killed in the middle leaves either all of it or nothing. */
    _Atomic uint64_t commit;
    struct tp_tally departed[2];
    struct entry entries[TP_LEDGER_MEMBERS];
};

struct tp_ledger {
    char path[TP_SHM_PATH_ROOM]; /* constant but for a fork */
    char name[TP_LEDGER_NAME_ROOM];
    pthread_mutex_t lock; /* guards all below */
    struct tp_shm shm;
    int index; /* of our entry; -1: not a member */
    bool left; /* for good */
};

/* ------------------------------------------------------------------ workers */

static atomic_bool declared;

void tp_worker_declare(void)
{
    atomic_store(&declared, true);
}

bool tp__worker_is_declared(void)
{
    return atomic_load(&declared);
}

/* When a process began, in ticks since the machine did; 0: none of that number runs. Source:
 * proc(5), fields 3 and 22 of stat, counted from behind the name, which may have anything in it. */
static uint64_t start_of(int pid)
{
    char path[48], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        (void)close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *at = strrchr(text, ')');
    if (at == NULL || strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0)
        return 0; /* ended, but not waited for */
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoull(at, NULL, 10) : 0;
}

static void note_parent(struct segment *segment)
{
    int parent = (int)getppid();
    atomic_store(&segment->parent, parent);
    atomic_store(&segment->parent_space, tp__shm_pid_space());
    atomic_store(&segment->parent_start, start_of(parent));
}

/* One that cannot be seen from here is taken to be alive. */
static bool parent_has_ended(const struct segment *segment)
{
    int parent = atomic_load(&segment->parent);
    return atomic_load(&segment->parent_space) == tp__shm_pid_space() &&
           start_of(parent) != atomic_load(&segment->parent_start);
}

/* ------------------------------------------------------------------ entries */

static struct segment *segment_of(const struct tp_ledger *ledger)
{
    return ledger->shm.at;
}

static int high_of(const struct segment *segment)
{
    uint32_t high = atomic_load(&segment->high);
    return high < TP_LEDGER_MEMBERS ? (int)high : TP_LEDGER_MEMBERS;
}

static bool is_live(const struct entry *entry)
{
    return atomic_load(&entry->state) == ENTRY_LIVE;
}

static void copy_tally(struct tp_tally *to, const struct tp_tally *from)
{
    _Atomic uint64_t *into = (void *)to;
    const _Atomic uint64_t *words = (const void *)from;
    for (size_t i = 0; i < sizeof *to / sizeof *words; i++)
        atomic_store_explicit(&into[i], tp__read(&words[i]), memory_order_relaxed);
}

static void clear_tally(struct tp_tally *tally)
{
    static const struct tp_tally nothing;
    copy_tally(tally, &nothing);
}

static void clear_entry(struct entry *entry)
{
    clear_tally(&entry->tally);
    for (int i = 0; i < TP_GAUGES; i++)
        atomic_store(&entry->gauges[i], 0);
    atomic_store(&entry->state, ENTRY_FREE);
}

/* What somebody who was killed has begun. */
static void recover(struct segment *segment)
{
    uint64_t commit = atomic_load(&segment->commit);
    uint64_t entry = commit >> 1;
    if (entry == 0 || entry > TP_LEDGER_MEMBERS)
        return;
    clear_entry(&segment->entries[entry - 1]);
    atomic_store(&segment->commit, commit & 1);
}

static struct tp_tally *departed_of(struct segment *segment)
{
    return &segment->departed[atomic_load(&segment->commit) & 1];
}

/* Adds an entry to those that have ended. */
static void bury(struct segment *segment, int index)
{
    uint64_t next = 1 - (atomic_load(&segment->commit) & 1);
    copy_tally(&segment->departed[next], departed_of(segment));
    tp__tally_add(&segment->departed[next], &segment->entries[index].tally);
    atomic_store(&segment->commit, ((uint64_t)index + 1) << 1 | next);
    recover(segment);
}

/* Returns how many live. */
static int sweep(const struct tp_ledger *ledger)
{
    struct segment *segment = segment_of(ledger);
    int high = high_of(segment), living = 0;
    recover(segment);
    for (int i = 0; i < high; i++) {
        if (!is_live(&segment->entries[i]))
            continue;
        if (i == ledger->index || tp__shm_is_held(&ledger->shm, i))
            living++;
        else
            bury(segment, i);
    }
    return living;
}

/* -------------------------------------------------------------------- file */

static enum tp_status unusable(const struct tp_ledger *ledger, const char *why,
                               struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_CONNECTION,
                         "the shared statistics (stats.shared) cannot be used: %s: %s",
                         ledger->path, why);
}

/* A page that is not there when memory has run out would kill whoever touches it, so they are asked
 * for beforehand. */
static bool reserve(const struct tp_ledger *ledger, size_t from, size_t size)
{
    return fallocate(ledger->shm.fd, 0, (off_t)from, (off_t)size) == 0 || errno == EOPNOTSUPP;
}

/* Opens the file if need be and takes its lock; one that has lost its name is left. */
static enum tp_status enter(struct tp_ledger *ledger, struct tp_error *err)
{
    if (ledger->shm.at != NULL && (ledger->left || tp__shm_is_current(&ledger->shm))) {
        if (tp__shm_lock(&ledger->shm))
            return TP_OK;
        return unusable(ledger, "its lock is not given back", err);
    }
    tp__shm_close(&ledger->shm);
    ledger->index = -1;
    const char *why = tp__shm_open(&ledger->shm, ledger->path, sizeof(struct segment), MAGIC);
    if (why != NULL)
        return unusable(ledger, why, err);
    if (!reserve(ledger, 0, offsetof(struct segment, entries))) {
        tp__shm_close(&ledger->shm);
        return unusable(ledger, "there is no room", err);
    }
    struct segment *segment = segment_of(ledger);
    if (sweep(ledger) == 0 && atomic_load(&segment->parent) != 0 && parent_has_ended(segment)) {
        clear_tally(departed_of(segment)); /* of another service, or before it was started anew */
        atomic_store(&segment->parent, 0);
    }
    return TP_OK;
}

static int find_place(const struct tp_ledger *ledger)
{
    struct segment *segment = segment_of(ledger);
    int high = high_of(segment);
    for (int i = 0; i <= high && i < TP_LEDGER_MEMBERS; i++) {
        if ((i == high || !is_live(&segment->entries[i])) && tp__shm_hold(&ledger->shm, i))
            return i;
    }
    return -1;
}

static enum tp_status join(struct tp_ledger *ledger, struct tp_error *err)
{
    struct segment *segment = segment_of(ledger);
    int index = find_place(ledger);
    if (index < 0)
        return unusable(ledger, "there are too many pools", err);
    if (!reserve(ledger, offsetof(struct segment, entries) + (size_t)index * sizeof(struct entry),
                 sizeof(struct entry))) {
        tp__shm_let_go(&ledger->shm, index);
        return unusable(ledger, "there is no room", err);
    }
    struct entry *entry = &segment->entries[index];
    clear_entry(entry);
    atomic_store(&entry->pid, (int32_t)getpid());
    atomic_store(&entry->space, tp__shm_pid_space());
    atomic_store(&entry->state, ENTRY_LIVE);
    if (index >= high_of(segment))
        atomic_store(&segment->high, (uint32_t)index + 1);
    if (tp__worker_is_declared())
        note_parent(segment);
    ledger->index = index;
    return TP_OK;
}

/* -------------------------------------------------------------------- life */

struct tp_ledger *tp__ledger_new(const char *name)
{
    struct tp_ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL)
        return NULL;
    snprintf(ledger->name, sizeof ledger->name, "%s+stats", name);
    tp__shm_path(ledger->path, ledger->name);
    pthread_mutex_init(&ledger->lock, NULL);
    ledger->shm.fd = -1;
    ledger->index = -1;
    return ledger;
}

void tp__ledger_free(struct tp_ledger *ledger)
{
    if (ledger == NULL)
        return;
    tp__ledger_leave(ledger);
    tp__shm_close(&ledger->shm);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}

/* The lock may have been held by a thread that does not exist here. */
void tp__ledger_forked(struct tp_ledger *ledger)
{
    if (ledger == NULL)
        return;
    pthread_mutex_init(&ledger->lock, NULL);
    tp__shm_close(&ledger->shm);
    ledger->index = -1;
    ledger->left = false;
}

/* ----------------------------------------------------------------- publishing */

static void write_entry(const struct tp_ledger *ledger, const struct tp_account *own)
{
    struct entry *entry = &segment_of(ledger)->entries[ledger->index];
    copy_tally(&entry->tally, &own->tally);
    for (int i = 0; i < TP_GAUGES; i++)
        atomic_store_explicit(&entry->gauges[i], own->gauges[i], memory_order_relaxed);
}

static enum tp_status become_member(struct tp_ledger *ledger, struct tp_error *err)
{
    if (ledger->index >= 0 && tp__shm_is_current(&ledger->shm))
        return TP_OK;
    enum tp_status status = enter(ledger, err);
    if (status != TP_OK)
        return status;
    status = join(ledger, err);
    tp__shm_unlock(&ledger->shm);
    return status;
}

enum tp_status tp__ledger_publish(struct tp_ledger *ledger, const struct tp_account *own,
                                  struct tp_error *err)
{
    enum tp_status status = TP_OK;
    pthread_mutex_lock(&ledger->lock);
    if (!ledger->left) {
        status = become_member(ledger, err);
        if (status == TP_OK)
            write_entry(ledger, own);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* ------------------------------------------------------------------- reading */

/* Whether an entry before this one is of the same process. */
static bool process_was_seen(const struct segment *segment, int index)
{
    const struct entry *entry = &segment->entries[index];
    for (int i = 0; i < index; i++) {
        const struct entry *other = &segment->entries[i];
        if (is_live(other) && atomic_load(&other->pid) == atomic_load(&entry->pid) &&
            atomic_load(&other->space) == atomic_load(&entry->space))
            return true;
    }
    return false;
}

static void sum_up(const struct tp_ledger *ledger, struct tp_account *sum)
{
    struct segment *segment = segment_of(ledger);
    (void)sweep(ledger);
    copy_tally(&sum->tally, departed_of(segment));
    for (int i = 0; i < high_of(segment); i++) {
        const struct entry *entry = &segment->entries[i];
        if (!is_live(entry))
            continue;
        tp__tally_add(&sum->tally, &entry->tally);
        for (int g = 0; g < TP_GAUGES; g++)
            sum->gauges[g] += atomic_load_explicit(&entry->gauges[g], memory_order_relaxed);
        sum->processes += !process_was_seen(segment, i);
    }
}

enum tp_status tp__ledger_read(struct tp_ledger *ledger, struct tp_account *sum,
                               struct tp_error *err)
{
    enum tp_status status = TP_OK;
    memset(sum, 0, sizeof *sum);
    pthread_mutex_lock(&ledger->lock);
    if (!ledger->left || ledger->shm.at != NULL) {
        status = enter(ledger, err);
        if (status == TP_OK) {
            sum_up(ledger, sum);
            tp__shm_unlock(&ledger->shm);
        }
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* ------------------------------------------------------------------- leaving */

/* Whether workers are to come that go on with what is there. */
static bool is_kept(const struct segment *segment)
{
    return atomic_load(&segment->parent) != 0 && !parent_has_ended(segment);
}

/* When the lock is not to be had, others find that the place is not held any more. */
static void part(struct tp_ledger *ledger)
{
    bool locked = tp__shm_lock(&ledger->shm);
    if (locked) {
        recover(segment_of(ledger));
        if (ledger->index >= 0)
            bury(segment_of(ledger), ledger->index);
    }
    if (ledger->index >= 0)
        tp__shm_let_go(&ledger->shm, ledger->index);
    ledger->index = -1;
    if (!locked)
        return;
    if (sweep(ledger) == 0 && !is_kept(segment_of(ledger)) && tp__shm_is_current(&ledger->shm))
        (void)unlink(ledger->path);
    tp__shm_unlock(&ledger->shm);
}

void tp__ledger_leave(struct tp_ledger *ledger)
{
    pthread_mutex_lock(&ledger->lock);
    if (!ledger->left && ledger->shm.at != NULL)
        part(ledger);
    ledger->left = true;
    pthread_mutex_unlock(&ledger->lock);
}
