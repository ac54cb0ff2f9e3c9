#include "resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "errand.h"
#include "error.h"
#include "list.h"

struct tp_resolve {
    struct tp_errand errand;
    char *hosts, *ports;
    struct tp_buf host_list, addr_list, port_list;
    size_t found;
    int failure;      /* the last getaddrinfo error */
    char failed[256]; /* the host it was about */
};

/* The i-th item of a comma-separated list: its start, and its length in *len.
 * NULL past the end. */
static const char *list_item(const char *list, size_t i, size_t *len)
{
    while (i-- > 0) {
        list = strchr(list, ',');
        if (list == NULL)
            return NULL;
        list++;
    }
    *len = strcspn(list, ",");
    return list;
}

static bool is_literal(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    return host[0] == '\0' || host[0] == '/' || host[0] == '@' ||
           inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static bool copy_item(char *out, size_t room, const char *list, size_t i)
{
    size_t len = 0;
    const char *item = list_item(list, i, &len);
    if (item == NULL)
        return false;
    if (len >= room)
        len = room - 1;
    memcpy(out, item, len);
    out[len] = '\0';
    return true;
}

bool tp__resolve_needed(const char *hosts)
{
    char host[256];
    if (hosts == NULL)
        return false;
    for (size_t i = 0; copy_item(host, sizeof host, hosts, i); i++) {
        if (!is_literal(host))
            return true;
    }
    return false;
}

static void add_entry(struct tp_resolve *resolve, const char *host, const char *address,
                      const char *port)
{
    const char *comma = resolve->found++ > 0 ? "," : "";
    tp__buf_printf(&resolve->host_list, "%s%s", comma, host);
    tp__buf_printf(&resolve->addr_list, "%s%s", comma, address);
    tp__buf_printf(&resolve->port_list, "%s%s", comma, port);
}

static void add_addresses(struct tp_resolve *resolve, const char *host, const char *port,
                          const struct addrinfo *found)
{
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        char address[256];
        if (getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof address, NULL, 0,
                        NI_NUMERICHOST) == 0)
            add_entry(resolve, host, address, port);
    }
}

static void resolve_host(struct tp_resolve *resolve, const char *host, const char *port)
{
    if (is_literal(host)) {
        bool numeric = host[0] != '\0' && host[0] != '/' && host[0] != '@';
        add_entry(resolve, host, numeric ? host : "", port);
        return;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(host, NULL, &hints, &found);
    if (failure != 0) {
        resolve->failure = failure;
        tp__text_copy(resolve->failed, sizeof resolve->failed, host);
        return;
    }
    add_addresses(resolve, host, port, found);
    freeaddrinfo(found);
}

static void resolve_run(struct tp_errand *errand)
{
    struct tp_resolve *resolve = TP_CONTAINER(errand, struct tp_resolve, errand);
    char host[256], port[32], first_port[32] = "";
    if (resolve->ports != NULL)
        copy_item(first_port, sizeof first_port, resolve->ports, 0);
    for (size_t i = 0; copy_item(host, sizeof host, resolve->hosts, i); i++) {
        if (resolve->ports == NULL || !copy_item(port, sizeof port, resolve->ports, i))
            memcpy(port, first_port, sizeof port);
        resolve_host(resolve, host, port);
    }
    /* NUL-terminates them, so that the getters can be const. */
    (void)tp__buf_cstr(&resolve->host_list);
    (void)tp__buf_cstr(&resolve->addr_list);
    (void)tp__buf_cstr(&resolve->port_list);
}

static void resolve_destroy(struct tp_errand *errand)
{
    struct tp_resolve *resolve = TP_CONTAINER(errand, struct tp_resolve, errand);
    tp__buf_free(&resolve->host_list);
    tp__buf_free(&resolve->addr_list);
    tp__buf_free(&resolve->port_list);
    free(resolve->hosts);
    free(resolve->ports);
    free(resolve);
}

struct tp_resolve *tp__resolve_start(const char *hosts, const char *ports, struct tp_wake *wake)
{
    struct tp_resolve *resolve = calloc(1, sizeof *resolve);
    if (resolve == NULL)
        return NULL;
    resolve->errand.run = resolve_run;
    resolve->errand.destroy = resolve_destroy;
    resolve->hosts = strdup(hosts);
    resolve->ports = ports != NULL ? strdup(ports) : NULL;
    if (resolve->hosts == NULL || (ports != NULL && resolve->ports == NULL)) {
        resolve_destroy(&resolve->errand);
        return NULL;
    }
    if (!tp__errand_start(&resolve->errand, wake)) {
        tp__errand_release(&resolve->errand);
        return NULL;
    }
    return resolve;
}

bool tp__resolve_done(const struct tp_resolve *resolve)
{
    return tp__errand_done(&resolve->errand);
}

enum tp_status tp__resolve_result(const struct tp_resolve *resolve, const char **hosts,
                                  const char **hostaddrs, const char **ports, struct tp_error *err)
{
    if (resolve->found == 0)
        return tp__error_set(err, TP_ERR_CONNECTION, "could not resolve the host name \"%s\": %s",
                             resolve->failed, gai_strerror(resolve->failure));
    if (resolve->host_list.failed || resolve->addr_list.failed || resolve->port_list.failed)
        return tp__error_set(err, TP_ERR_MEMORY, "out of memory while resolving host names");
    *hosts = resolve->host_list.data;
    *hostaddrs = resolve->addr_list.data;
    *ports = resolve->ports != NULL ? resolve->port_list.data : NULL;
    return TP_OK;
}

void tp__resolve_free(struct tp_resolve *resolve)
{
    if (resolve != NULL)
        tp__errand_release(&resolve->errand);
}
