/* Several hosts, one of which is silent.
 *
 * libpq tries them in their order and leaves one when it refuses, or is not of the kind that is
 * wanted; but it waits for an answer for as long as it takes, so that a host which accepts and
 * says nothing (a server that hangs, a link that drops what is sent) would keep it from the
 * others. Such a host is taken from the list after connect_timeout, and libpq begins anew with
 * those that are left: all of them, since with prefer-standby one that it has passed by may be
 * wanted in the end. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "conn_impl.h"

/* ------------------------------------------------- items between commas */

static size_t count_items(const char *list)
{
    size_t count = 1;
    for (; *list != '\0'; list++)
        count += *list == ',';
    return count;
}

/* The item at `index`, which ends at a comma or at the end. */
static const char *item_at(const char *list, size_t index)
{
    while (index-- > 0)
        list += strcspn(list, ",") + 1;
    return list;
}

static bool is_item(const char *list, size_t index, const char *text)
{
    const char *item = item_at(list, index);
    size_t len = strcspn(item, ",");
    return strlen(text) == len && memcmp(item, text, len) == 0;
}

static bool is_empty_item(const char *list, size_t index)
{
    return strcspn(item_at(list, index), ",") == 0;
}

/* With the comma behind it, or the one before it. */
static void remove_item(char *list, size_t index)
{
    char *item = list + (item_at(list, index) - list);
    size_t len = strcspn(item, ",");
    if (item[len] == ',')
        memmove(item, item + len + 1, strlen(item + len + 1) + 1);
    else
        *(item > list ? item - 1 : item) = '\0';
}

/* ---------------------------------------------------------------- hosts */

static char *copy_of(const char *list)
{
    return list != NULL && list[0] != '\0' ? strdup(list) : NULL;
}

void tp__conn_note_hosts(struct tp_conn *conn, const char *names, const char *addresses,
                         const char *ports)
{
    struct tp_conn_hosts *hosts = &conn->hosts;
    if (hosts->names != NULL || hosts->addresses != NULL)
        return;
    hosts->names = copy_of(names);
    hosts->addresses = copy_of(addresses);
    hosts->ports = copy_of(ports);
}

void tp__conn_forget_hosts(struct tp_conn *conn)
{
    struct tp_conn_hosts *hosts = &conn->hosts;
    free(hosts->names);
    free(hosts->addresses);
    free(hosts->ports);
    memset(hosts, 0, sizeof *hosts);
}

static size_t count_hosts(const struct tp_conn_hosts *hosts)
{
    const char *list = hosts->addresses != NULL ? hosts->addresses : hosts->names;
    return list != NULL ? count_items(list) : 1;
}

bool tp__conn_has_other_hosts(const struct tp_conn *conn)
{
    return count_hosts(&conn->hosts) > 1;
}

void tp__conn_watch_host(struct tp_conn *conn, bool moves_on)
{
    const char *now =
        PQhost(conn->pg); /* of each host another string, though it be the same text */
    if (moves_on && now != conn->hosts.current)
        conn->deadline =
            tp__after(tp_now(), tp__config_settings(conn->env.config)->connect_timeout_us);
    conn->hosts.current = now;
}

/* Whether libpq is at this one: by its name and port, and its address when that is known. */
static bool is_at(const struct tp_conn *conn, size_t index, bool by_address)
{
    const struct tp_conn_hosts *hosts = &conn->hosts;
    bool named = hosts->names != NULL && !is_empty_item(hosts->names, index);
    bool addressed = hosts->addresses != NULL && !is_empty_item(hosts->addresses, index);
    bool own_port = hosts->ports != NULL && count_items(hosts->ports) > 1;
    if (!named && !addressed)
        return false;
    if (!is_item(named ? hosts->names : hosts->addresses, index, PQhost(conn->pg)))
        return false;
    if (own_port && !is_empty_item(hosts->ports, index) &&
        !is_item(hosts->ports, index, PQport(conn->pg)))
        return false;
    return !by_address || !addressed || is_item(hosts->addresses, index, PQhostaddr(conn->pg));
}

bool tp__conn_drop_host(struct tp_conn *conn)
{
    struct tp_conn_hosts *hosts = &conn->hosts;
    size_t count = count_hosts(hosts), index = count;
    for (size_t i = 0; index == count && i < 2 * count && count > 1; i++) {
        if (is_at(conn, i % count, i < count))
            index = i % count;
    }
    if (index == count)
        return false;
    if (hosts->names != NULL)
        remove_item(hosts->names, index);
    if (hosts->addresses != NULL)
        remove_item(hosts->addresses, index);
    if (hosts->ports != NULL && count_items(hosts->ports) > 1)
        remove_item(hosts->ports, index);
    return true;
}
