#include "tls_pem.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

/* More than any bundle of certificates: Mozilla's has 220 kB. */
enum { FILE_MAX = 4 * 1024 * 1024 };

void tp__pem_free(struct tp_pem *pem)
{
    if (pem->text != NULL) {
        explicit_bzero(pem->text, pem->len);
        free(pem->text);
        pem->text = NULL;
    }
}

static enum tp_status no_memory(struct tp_error *err)
{
    return tp__error_set(err, TP_ERR_MEMORY, "out of memory");
}

static bool has_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

/* A value of an environment file often has its line breaks as "\n". */
static void unescape_newlines(struct tp_pem *pem)
{
    if (memchr(pem->text, '\n', pem->len) != NULL) {
        return;
    }
    size_t len = 0;
    for (size_t i = 0; i < pem->len; i++) {
        bool escape = pem->text[i] == '\\' && pem->text[i + 1] == 'n';
        pem->text[len++] = escape ? '\n' : pem->text[i];
        i += escape ? 1 : 0;
    }
    explicit_bzero(pem->text + len, pem->len - len);
    pem->len = len;
}

/* The value of a base64 digit, also of the alphabet for URLs; -1 for others. */
static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (c == '-' || c == '_') {
        c = c == '-' ? '+' : '/';
    }
    const char *found = c != '\0' ? strchr(digits, c) : NULL;
    return found != NULL ? (int)(found - digits) : -1;
}

/* Decodes base64 with any white space and with or without padding. Returns the
 * length, or -1 when the text is something else. */
static long base64_decode(const char *text, char *out)
{
    unsigned bits = 0;
    int nbits = 0;
    long len = 0;
    bool padded = false;
    for (; *text != '\0'; text++) {
        if (isspace((unsigned char)*text)) {
            continue;
        }
        int digit = base64_digit(*text);
        padded = padded || *text == '=';
        if (padded ? *text != '=' : digit < 0) {
            return -1;
        }
        if (!padded) {
            bits = bits << 6 | (unsigned)digit;
            nbits += 6;
        }
        if (nbits >= 8) {
            nbits -= 8;
            out[len++] = (char)(unsigned char)(bits >> nbits & 0xff);
        }
    }
    return len;
}

static enum tp_status from_text(struct tp_pem *pem, const char *value, struct tp_error *err)
{
    pem->len = strlen(value);
    pem->text = strdup(value);
    if (pem->text == NULL) {
        return no_memory(err);
    }
    unescape_newlines(pem);
    return TP_OK;
}

/* Leaves pem->text NULL when the value is not base64 of PEM. */
static enum tp_status from_base64(struct tp_pem *pem, const char *value, struct tp_error *err)
{
    size_t room = strlen(value) + 1;
    char *text = calloc(1, room);
    if (text == NULL) {
        return no_memory(err);
    }
    long len = base64_decode(value, text);
    if (len > 0 && has_pem(text)) {
        pem->text = text;
        pem->len = (size_t)len;
        return TP_OK;
    }
    explicit_bzero(text, room);
    free(text);
    return TP_OK;
}

static enum tp_status read_all(struct tp_pem *pem, int fd, size_t size, struct tp_error *err)
{
    pem->text = calloc(1, size + 1);
    if (pem->text == NULL) {
        return no_memory(err);
    }
    pem->len = size;
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, pem->text + len, size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return tp__error_set(err, TP_ERR_TLS, "the file of %s cannot be read: %s", pem->label,
                                 strerror(errno));
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    pem->len = len;
    return TP_OK;
}

static enum tp_status from_file(struct tp_pem *pem, const char *path, struct tp_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return tp__error_set(err, TP_ERR_VALIDATION,
                             "%s is neither PEM, nor base64 of PEM, nor a file that can be read",
                             pem->label);
    }
    enum tp_status status;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        status = tp__error_set(err, TP_ERR_VALIDATION,
                               "%s names something that is no file of certificates", pem->label);
    } else {
        status = read_all(pem, fd, (size_t)st.st_size, err);
    }
    close(fd);
    pem->is_file = true;
    return status;
}

enum tp_status tp__pem_get(struct tp_pem *pem, const char *value, struct tp_error *err)
{
    if (has_pem(value)) {
        return from_text(pem, value, err);
    }
    enum tp_status status = from_base64(pem, value, err);
    if (status == TP_OK && pem->text == NULL) {
        status = from_file(pem, value, err);
    }
    return status;
}
