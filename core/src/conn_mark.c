/* What statements are marked with: a comment behind the text, such as the trace that it belongs to,
 * and the name of the session while they run.
 *
 * A text with a comment is another one each time, so the server gets it without a name; what is
 * known of the statement itself, its types above all, is that of the text without it. The name
 * is set ahead of a statement, in the same round trip, and set back ahead of the next one that
 * wants none; what it is the server says (ParameterStatus), also when a rollback has undone it.
 * libpq has to hear that, so a session whose name was changed is not spoken to behind its back. */
#include <stdio.h>
#include <string.h>

#include "conn.h"
#include "conn_impl.h"

static const char setting[] = "application_name";

void tp__conn_mark(struct tp_conn *conn, const char *comment, const char *application_name)
{
    conn->comment = comment;
    conn->wanted_name = application_name;
    conn->marked = comment != NULL || application_name != NULL || conn->renamed;
}

bool tp__conn_has_comment(const struct tp_conn *conn)
{
    return conn->comment != NULL;
}

/* Whether the text may end in a comment that goes to the end of the line. */
static bool ends_in_line(const char *sql, size_t len)
{
    const char *newline = memrchr(sql, '\n', len);
    const char *line = newline != NULL ? newline : sql;
    return memmem(line, (size_t)(sql + len - line), "--", 2) != NULL;
}

const char *tp__conn_marked(struct tp_conn *conn, const char *sql, size_t len)
{
    struct tp_buf *out = &conn->marked_sql;
    if (conn->comment == NULL)
        return sql;
    tp__buf_clear(out);
    tp__buf_append(out, sql, len);
    tp__buf_append(out, ends_in_line(sql, len) ? "\n" : " ", 1);
    tp__buf_append(out, conn->comment, strlen(conn->comment));
    return tp__buf_cstr(out);
}

/* What the server keeps of a name, and what needs no quoting: printable ASCII, 63 bytes. */
static void clean(char out[64], const char *name)
{
    size_t len = 0;
    for (; name[len] != '\0' && len < 63; len++) {
        bool plain = name[len] >= ' ' && name[len] <= '~' && name[len] != '\'' && name[len] != '\\';
        out[len] = plain ? name[len] : '?';
    }
    out[len] = '\0';
}

bool tp__conn_send_name(struct tp_conn *conn)
{
    char name[64], sql[128];
    const char *now = PQparameterStatus(conn->pg, setting);
    if (!conn->marked || conn->transaction == TP_TX_FAILED || now == NULL ||
        (conn->wanted_name == NULL && !conn->renamed))
        return true;
    if (!conn->renamed)
        clean(conn->own_name, now);
    clean(name, conn->wanted_name != NULL ? conn->wanted_name : conn->own_name);
    conn->renamed = conn->wanted_name != NULL || strcmp(now, name) != 0;
    if (strcmp(now, name) == 0)
        return true;
    snprintf(sql, sizeof sql, "SET %s = '%s'", setting, name);
    conn->pipelined = true;
    conn->silent++;
    return PQenterPipelineMode(conn->pg) &&
           PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0);
}
