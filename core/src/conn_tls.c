/* What a connection has to do with TLS: the names that are verified, and what came of it.
 * libpq does the rest. */
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "conn.h"
#include "conn_impl.h"
#include "error.h"
#include "tls_check.h"

/* --------------------------------------------------------------------- names */

/* The length of the first item of a list; *list moves behind it. */
static size_t next_item(const char **list)
{
    size_t len = strcspn(*list, ",");
    *list += len;
    *list += **list == ',' ? 1 : 0;
    return len;
}

const char *tp__conn_server_names(struct tp_conn *conn, const char *hosts, const char *addresses)
{
    const char *name = tp__config_settings(conn->env.config)->tls_server_name;
    const char *host = hosts != NULL ? hosts : "", *address = addresses;
    tp__buf_clear(&conn->names);
    for (bool more = true; more;) {
        const char *begin = host;
        size_t host_len = next_item(&host);
        more = strchr(address, ',') != NULL;
        bool socket = next_item(&address) == 0;
        tp__buf_printf(&conn->names, "%.*s%s", socket ? (int)host_len : (int)strlen(name),
                       socket ? begin : name, more ? "," : "");
    }
    return tp__buf_cstr(&conn->names);
}

/* -------------------------------------------------------------------- errors */

const char *tp__conn_tls_hint(const char *message)
{
    static const struct {
        const char *part, *hint;
    } hints[] = {
        {"certificate verify failed",
         "The server's certificate has expired or was revoked, is not valid yet, or was issued by "
         "none of tls.ca; \"openssl s_client -starttls postgres -connect HOST:PORT\" shows it."},
        {"does not match host name",
         "Say the name of the certificate as host, with hostaddr for the address, or as "
         "tls.server_name."},
        {"does not support SSL",
         "Nothing was sent to it. Switch TLS on at the server, or off here (tls = false)."},
    };
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++) {
        if (strstr(message, hints[i].part) != NULL)
            return hints[i].hint;
    }
    return NULL;
}

/* --------------------------------------------------------- what came of it */

static void copy_attribute(PGconn *pg, const char *name, char *out, size_t room)
{
    tp__text_copy(out, room, PQsslAttribute(pg, name));
}

/* The end of the chain by which the server was verified; nothing when it was not. */
static void describe_ca(SSL *ssl, struct tp_certificate *out)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int count = chain != NULL ? sk_X509_num(chain) : 0;
    if (SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE && SSL_get_verify_result(ssl) == X509_V_OK &&
        count > 0)
        tp__tls_describe(out, sk_X509_value(chain, count - 1));
}

void tp__conn_describe_tls(const struct tp_conn *conn, struct tp_tls_state *out)
{
    const char *bits = PQsslAttribute(conn->pg, "key_bits");
    SSL *ssl = PQsslStruct(conn->pg, "OpenSSL");
    memset(out, 0, sizeof *out);
    if (!PQsslInUse(conn->pg) || ssl == NULL)
        return;
    out->encrypted = true;
    out->bits = bits != NULL ? (int)strtol(bits, NULL, 10) : 0;
    copy_attribute(conn->pg, "protocol", out->version, sizeof out->version);
    copy_attribute(conn->pg, "cipher", out->cipher, sizeof out->cipher);
    X509 *server = SSL_get1_peer_certificate(ssl);
    if (server != NULL)
        tp__tls_describe(&out->server, server);
    X509_free(server);
    describe_ca(ssl, &out->ca);
}
