/* Connections to a server that says anything: core and libpq go through the conversations
 * below while the server's part, which was recorded from a real one, is changed. Every one
 * comes to an end when the server has hung up, with the connection ready or lost.
 *
 * Input: which conversation; the server's turns, see fake_server.h. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "conn.h"
#include "error.h"
#include "fake_server.h"

enum { STEPS_AT_MOST = 100 * 1000, ROWS_AT_MOST = 1000 };

struct talk {
    struct tp_conn *conn;
    struct tp_catalog catalog;
    struct tp_catalog_answer *answer; /* rows are what the catalog asked for */
    int copies;                       /* that are still to be sent */
    bool silent;                      /* rows are left where they are */
};

static struct fake_server server;
static tp_config *config;
static struct tp_wake *wake;
static bool hidden; /* the password is not among what the server says */
static volatile unsigned char sink;

/* ------------------------------------------------------------------- steps */

static void on_notice(void *ctx, int pid, const char *code, const char *text)
{
    (void)ctx;
    (void)pid;
    sink ^= (unsigned char)((code != NULL ? strlen(code) : 0) + (text != NULL ? strlen(text) : 0));
}

static bool is_readable(const struct talk *talk)
{
    struct pollfd on = {.fd = tp__conn_fd(talk->conn), .events = POLLIN};
    return on.fd >= 0 && poll(&on, 1, 0) > 0;
}

/* Returns what is known of the socket when it is the client's turn again. */
static int wait(struct talk *talk)
{
    if (is_readable(talk))
        return TP_READ;
    fake_server_serve(&server);
    return is_readable(talk) ? TP_READ : 0;
}

static bool connect_to_server(struct talk *talk)
{
    struct tp_error err = {.kind = TP_OK};
    enum tp_step step;
    int steps = 0;
    while ((step = tp__conn_step_open(talk->conn, &err)) == TP_WAIT) {
        (void)wait(talk);
        fuzz_check(steps++ < STEPS_AT_MOST);
    }
    if (step == TP_FAILED)
        fuzz_check_error(&err, hidden);
    return step == TP_DONE;
}

/* A cell's bytes are there, and are written as text where they have one. */
static const unsigned char *take_cell(const unsigned char *at, const struct tp_column *column,
                                      bool binary)
{
    struct tp_buf out = {0};
    uint32_t len = tp__get32(at);
    at += 4;
    if (len == UINT32_MAX)
        return at;
    for (uint32_t i = 0; i < len; i++)
        sink ^= at[i];
    if (binary && column->type->binary && column->type->codec != NULL)
        (void)tp__type_format(column->type, at, len, &out);
    tp__buf_free(&out);
    return at + len;
}

/* See op_describe.c. */
static void take_type(struct talk *talk, const struct tp_row *row)
{
    char *copies[TP_CATALOG_COLUMNS] = {NULL};
    const unsigned char *at = row->cells;
    for (int i = 0; i < TP_CATALOG_COLUMNS; i++) {
        uint32_t len = tp__get32(at);
        at += 4;
        if (len == UINT32_MAX)
            continue;
        copies[i] = strndup((const char *)at, len);
        at += len;
    }
    fuzz_check(tp__catalog_answer_add(talk->answer, (const char *const *)copies));
    for (int i = 0; i < TP_CATALOG_COLUMNS; i++)
        free(copies[i]);
}

static void take_rows(struct talk *talk)
{
    const struct tp_columns *columns = tp__conn_columns(talk->conn);
    bool binary = tp__conn_rows_are_binary(talk->conn);
    struct tp_row row;
    fuzz_check(columns != NULL);
    for (int n = 0; n < ROWS_AT_MOST && tp__conn_next_row(talk->conn, &row); n++) {
        const unsigned char *at = row.cells;
        for (int i = 0; i < columns->count; i++)
            at = take_cell(at, &columns->list[i], binary);
        fuzz_check(at == row.cells + row.len);
        if (talk->answer != NULL && columns->count == TP_CATALOG_COLUMNS)
            take_type(talk, &row);
    }
}

static void take_copy(struct talk *talk)
{
    const char *data;
    size_t len;
    fuzz_check(tp__conn_copy_columns(talk->conn) >= 0);
    while (tp__conn_copy_next(talk->conn, &data, &len)) {
        for (size_t i = 0; i < len; i++)
            sink ^= (unsigned char)data[i];
    }
}

static void send_copy(struct talk *talk)
{
    static const char row[] = "1\tone\n";
    if (talk->copies-- > 0)
        tp__conn_copy_put(talk->conn, row, sizeof row - 1);
    else
        tp__conn_copy_end(talk->conn, NULL);
}

/* To the end of the request; whether it went well. */
static bool finish(struct talk *talk, enum tp_status asked)
{
    int ready = 0, steps = 0;
    while (asked == TP_OK) {
        enum tp_step step = tp__conn_step(talk->conn, ready);
        ready = 0;
        if (step == TP_DONE)
            return true;
        if (step == TP_FAILED)
            break;
        if (step == TP_WAIT)
            ready = wait(talk);
        else if (step == TP_ROWS && !talk->silent)
            take_rows(talk);
        else if (step == TP_DATA)
            take_copy(talk);
        else if (step == TP_SEND)
            send_copy(talk);
        fuzz_check(steps++ < STEPS_AT_MOST);
    }
    fuzz_check(!tp__conn_is_ready(talk->conn) || tp__conn_error(talk->conn)->kind != TP_OK);
    if (tp__conn_error(talk->conn)->kind != TP_OK)
        fuzz_check_error(tp__conn_error(talk->conn), hidden);
    return false;
}

/* ----------------------------------------------------------- conversations */

static bool run_script(struct talk *talk, const char *sql)
{
    return tp__conn_is_ready(talk->conn) && finish(talk, tp__conn_ask_simple(talk->conn, sql));
}

/* Asks the catalog for types that are not known. */
static bool look_up(struct talk *talk, struct tp_description *description)
{
    int columns = description->columns != NULL ? description->columns->count : 0;
    int room = description->nparams + columns;
    uint32_t *missing = malloc((size_t)(room + 1) * sizeof *missing);
    int count = tp__description_resolve(description, &talk->catalog, missing, room);
    bool good = true;
    if (count > 0) {
        struct tp_buf sql = {0};
        tp__catalog_ask(&sql, missing, count, tp__conn_server_version(talk->conn));
        talk->answer = tp__catalog_answer_new();
        good = run_script(talk, tp__buf_cstr(&sql));
        fuzz_check(tp__catalog_learn(&talk->catalog, talk->answer, missing, count));
        talk->answer = NULL;
        fuzz_check(tp__description_resolve(description, &talk->catalog, NULL, 0) == 0);
        tp__buf_free(&sql);
    }
    free(missing);
    return good;
}

/* A description and its types; NULL when that went wrong. */
static struct tp_description *prepare(struct talk *talk, const char *sql)
{
    if (!tp__conn_is_ready(talk->conn) ||
        !finish(talk, tp__conn_ask_prepare(talk->conn, sql, strlen(sql))))
        return NULL;
    struct tp_description *description = tp__conn_take_description(talk->conn);
    bool evicted;
    if (description != NULL && tp__conn_remember(talk->conn, description, &evicted) != NULL &&
        look_up(talk, description))
        return description;
    tp__description_release(description);
    return NULL;
}

static struct tp_param *params_for(const struct tp_description *description)
{
    struct tp_param *params = calloc((size_t)description->nparams + 1, sizeof *params);
    for (int i = 0; i < description->nparams; i++)
        params[i] = (struct tp_param){.data = "7", .len = 1};
    return params;
}

static void execute(struct talk *talk, struct tp_description *description, bool keep)
{
    struct tp_execution execution = {.description = description, .keep = keep};
    struct tp_columns *found;
    if (description == NULL || !tp__conn_is_ready(talk->conn))
        return;
    tp__conn_bound(talk->conn, 1 << 20, keep);
    struct tp_param *params = params_for(description);
    execution.params = params;
    if (!keep)
        execution.statement =
            tp__conn_find(talk->conn, description->sql, description->sql_len, description->hash);
    (void)finish(talk, tp__conn_ask_execute(talk->conn, &execution));
    if (tp__conn_had_other_columns(talk->conn) &&
        (found = tp__conn_take_found_columns(talk->conn)) != NULL)
        tp__columns_free(found);
    free(params);
}

static void talk_simply(struct talk *talk)
{
    (void)run_script(talk, "select 1 as a, 'x' as b; do $$ begin raise notice 'hello'; end $$;"
                           "select i, null from generate_series(1, 3) i; set timezone to 'UTC'");
    (void)run_script(talk, "selekt");
    (void)run_script(talk, "listen here; notify here, 'you'");
    talk->silent = true;
    (void)run_script(talk, "select i from generate_series(1, 20) i");
}

/* Values of many types, some of which the catalog has to be asked for. */
static void talk_of_types(struct talk *talk)
{
    (void)run_script(talk, "create type pg_temp.mood as enum ('sad', 'glad');"
                           "create type pg_temp.pair as (id int, name text)");
    struct tp_description *one =
        prepare(talk, "select 'sad'::pg_temp.mood, row(1, 'a')::pg_temp.pair,"
                      " array[row(2, 'b')::pg_temp.pair], $1::int");
    struct tp_description *other =
        prepare(talk, "select 1.5::numeric, now() - now(), '2020-02-02'::date, '{1,2}'::int[],"
                      " '[1,5)'::int4range, '10.0.0.0/8'::inet, b'101', '(1,2)'::point");
    execute(talk, one, false);
    execute(talk, other, false);
    execute(talk, other, false);
    tp__description_release(one);
    tp__description_release(other);
}

/* Rolls back what is open. */
static void mend(struct talk *talk)
{
    int ready = 0, steps = 0;
    while (!tp__conn_is_lost(talk->conn) && tp__conn_step_reset(talk->conn, ready) == TP_WAIT) {
        ready = wait(talk);
        fuzz_check(steps++ < STEPS_AT_MOST);
    }
}

static void talk_of_failures(struct talk *talk)
{
    struct tp_description *one = prepare(talk, "select 7 / ($1::int - 7)");
    (void)run_script(talk, "begin");
    execute(talk, one, false);
    mend(talk);
    if (tp__conn_is_ready(talk->conn))
        (void)finish(talk, tp__conn_ask_ping(talk->conn));
    (void)tp__conn_look(talk->conn);
    tp__description_release(one);
}

/* As on a second connection of a pool: described elsewhere, prepared on the way. */
static void talk_by_the_way(struct talk *talk)
{
    static const char sql[] = "select i, 'x' || i from generate_series(1, $1::int) i";
    struct tp_description *one = prepare(talk, sql);
    tp__conn_drop(talk->conn, 0);
    execute(talk, one, true);
    execute(talk, one, true);
    tp__description_release(one);
}

static void talk_in_pipelines(struct talk *talk)
{
    struct tp_description *one = prepare(talk, "select $1::int as a, 'b' as b");
    struct tp_param *params = one != NULL ? params_for(one) : NULL;
    for (int keep = 1; one != NULL && keep >= 0 && tp__conn_is_ready(talk->conn); keep--) {
        const struct tp_statement *statement =
            tp__conn_find(talk->conn, one->sql, one->sql_len, one->hash);
        enum tp_status status = tp__conn_ask_pipeline(talk->conn);
        for (int i = 0; i < 3 && status == TP_OK; i++)
            status = tp__conn_pipeline_add(talk->conn, statement->name, one, params);
        tp__conn_expect(talk->conn, one);
        if (status == TP_OK)
            status = tp__conn_pipeline_end(talk->conn, keep);
        (void)finish(talk, status);
    }
    free(params);
    tp__description_release(one);
}

static void talk_of_copies(struct talk *talk)
{
    static const char *const sql[] = {"copy fuzzed from stdin", "copy fuzzed to stdout",
                                      "copy fuzzed from stdin (format nothing)"};
    (void)run_script(talk, "create temp table fuzzed (id int, name text)");
    for (int i = 0; i < 3 && tp__conn_is_ready(talk->conn); i++) {
        talk->copies = 3;
        (void)finish(talk, tp__conn_ask_copy(talk->conn, sql[i], i != 1));
    }
    (void)run_script(talk, "copy fuzzed from stdin");
    (void)run_script(talk, "copy fuzzed to stdout");
}

static void (*const talks[])(struct talk *) = {
    talk_simply,     talk_of_types,     talk_of_failures,
    talk_by_the_way, talk_in_pipelines, talk_of_copies,
};
enum { TALKS = sizeof talks / sizeof talks[0] };

static void talk_once(uint8_t which)
{
    struct tp_conn_env env = {.config = config, .wake = wake, .notice = on_notice};
    struct talk talk = {.conn = NULL};
    struct tp_error err;
    tp__catalog_init(&talk.catalog);
    env.catalog = &talk.catalog;
    talk.conn = tp__conn_open(&env, &err);
    fuzz_check(talk.conn != NULL);
    if (connect_to_server(&talk))
        talks[which % TALKS](&talk);
    fuzz_check(tp__conn_is_ready(talk.conn) || tp__conn_is_lost(talk.conn));
    tp__conn_close(talk.conn, false);
    fake_server_end(&server);
    fuzz_check(fake_server_held == 0);
    tp__catalog_deinit(&talk.catalog);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t which = fuzz_byte(&in);
    hidden = memmem(data, size, FUZZ_SECRET, strlen(FUZZ_SECRET)) == NULL;
    fake_server_play(&server, in);
    talk_once(which);
    return 0;
}

/* --------------------------------------------------------------- beginning */

static void record_all(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/.s.PGSQL.%s", getenv("TIDEPOOL_TEST_SOCKET"),
             getenv("TIDEPOOL_TEST_PORT"));
    for (int i = 0; i < TALKS; i++) {
        char file[256];
        struct tp_buf recording = {0};
        tp__buf_putc(&recording, (char)i);
        fake_server_record(&server, path, &recording);
        talk_once((uint8_t)i);
        snprintf(file, sizeof file, "%s/recording-%d", folder, i);
        FILE *out = fopen(file, "w");
        fuzz_check(out != NULL && fwrite(recording.data, recording.len, 1, out) == 1);
        fclose(out);
        tp__buf_free(&recording);
    }
    exit(0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *record = getenv("TIDEPOOL_FUZZ_RECORD");
    const char *user = record != NULL ? getenv("TIDEPOOL_TEST_USER") : "somebody";
    const char *database = record != NULL ? getenv("TIDEPOOL_TEST_DATABASE") : "some";
    struct tp_error err;
    (void)argc;
    (void)argv;
    fake_server_open(&server);
    wake = tp__wake_new();
    config = tp_config_new();
    fuzz_check(tp_config_set(config, "host", server.folder, &err) == TP_OK &&
               tp_config_set(config, "port", FAKE_PORT, &err) == TP_OK &&
               tp_config_set(config, "user", user, &err) == TP_OK &&
               tp_config_set(config, "database", database, &err) == TP_OK &&
               tp_config_set(config, "password", FUZZ_SECRET, &err) == TP_OK &&
               tp_config_resolve(config, fuzz_no_variable, NULL, &err) == TP_OK);
    if (record != NULL)
        record_all(record);
    return 0;
}

/* ---------------------------------------------------------------- changing */

/* Messages are changed as a whole: they go, come twice, come elsewhere, are of another type,
 * lie about their length, or have another body. */

enum { MESSAGES_AT_MOST = 512, HEADER = 5 };

struct message {
    size_t at, len;
};

/* A length that leads nowhere ends where the turn does. */
static int find_messages(const uint8_t *data, size_t size, struct message *out)
{
    int count = 0;
    for (size_t at = 1; at + HEADER <= size && count < MESSAGES_AT_MOST;) {
        size_t len = (size_t)tp__get32(data + at + 1) + 1;
        if (len < HEADER || len > size - at) {
            const uint8_t *end = memmem(data + at, size - at, FAKE_TURN_END, FAKE_TURN_END_LEN);
            len = end != NULL && end > data + at ? (size_t)(end - data) - at : size - at;
        }
        out[count++] = (struct message){at, len};
        at += len;
    }
    return count;
}

/* Puts other bytes in the place of `old` at `at`. Returns the size, which stays when there is
 * no room. */
static size_t replace(uint8_t *data, size_t size, size_t room, struct message old,
                      const uint8_t *bytes, size_t len)
{
    if (size - old.len + len > room)
        return size;
    memmove(data + old.at + len, data + old.at + old.len, size - old.at - old.len);
    if (len > 0)
        memcpy(data + old.at, bytes, len);
    return size - old.len + len;
}

/* Another body under the right length. */
static size_t change_body(uint8_t *data, size_t size, size_t room, struct message message)
{
    uint8_t bytes[4096];
    size_t len = message.len - HEADER, space = room - size + message.len;
    if (message.len < HEADER || message.len > sizeof bytes / 2)
        return LLVMFuzzerMutate(data, size, room);
    memcpy(bytes, data + message.at, message.len);
    space = space < sizeof bytes ? space : sizeof bytes;
    len = LLVMFuzzerMutate(bytes + HEADER, len, space - HEADER);
    tp__put32((char *)bytes + 1, (uint32_t)len + 4);
    return replace(data, size, room, message, bytes, len + HEADER);
}

static size_t copy_to(uint8_t *data, size_t size, size_t room, struct message message, size_t at)
{
    uint8_t bytes[4096];
    if (message.len > sizeof bytes)
        return size;
    memcpy(bytes, data + message.at, message.len);
    return replace(data, size, room, (struct message){at, 0}, bytes, message.len);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static const uint32_t lies[] = {0, 3, 4, 5, 255, 30001, 1 << 20, INT32_MAX, UINT32_MAX};
    static const char types[] = "RSKZTDCIE123nstANGHWcdvV";
    struct message list[MESSAGES_AT_MOST], chosen;
    int count = find_messages(data, size, list);
    unsigned draw = seed / 8;
    if (count == 0 || size > room)
        return LLVMFuzzerMutate(data, size, room);
    chosen = list[draw % (unsigned)count];
    switch (seed % 8) {
    case 0:
        return replace(data, size, room, chosen, NULL, 0);
    case 1:
        return copy_to(data, size, room, chosen, chosen.at);
    case 2:
        return copy_to(data, size, room, chosen, list[draw / 512 % (unsigned)count].at);
    case 3:
        data[chosen.at] = (uint8_t)types[draw / 512 % (sizeof types - 1)];
        return size;
    case 4:
        if (chosen.len >= HEADER)
            tp__put32((char *)data + chosen.at + 1,
                      lies[draw / 512 % (sizeof lies / sizeof lies[0])]);
        return size;
    case 5:
        return LLVMFuzzerMutate(data, size, room);
    default:
        return change_body(data, size, room, chosen);
    }
}
