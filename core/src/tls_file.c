#include "tls_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR) {
            return false;
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* Whether libpq will be able to open it: not without /proc, and not in a process
 * that changed its user and may not look at its own /proc/self/fd. */
static bool can_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static bool make_memfd(struct tp_tls_file *file, const struct tp_pem *pem)
{
    int fd = memfd_create("tidepool-pem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return false;
    }
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", fd);
    /* The mode must be set before the seals, and libpq refuses a key that others
     * may read. */
    if (write_all(fd, pem->text, pem->len) && fchmod(fd, S_IRUSR | S_IWUSR) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0 &&
        can_open(file->path)) {
        file->fd = fd;
        return true;
    }
    close(fd);
    file->path[0] = '\0';
    return false;
}

/* Removes the file and the folder that was made for it. */
static void remove_file(struct tp_tls_file *file)
{
    char *slash = strrchr(file->path, '/');
    (void)unlink(file->path);
    if (slash != NULL) {
        *slash = '\0';
        (void)rmdir(file->path);
    }
}

/* Where nothing else is said, in memory if there is such a place. */
static const char *folder_for_files(void)
{
    const char *said = getenv("TMPDIR");
    if (said != NULL && said[0] == '/') {
        return said;
    }
    return access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* mkdtemp makes the folder with mode 0700. */
static bool make_file(struct tp_tls_file *file, const struct tp_pem *pem)
{
    static const char name[] = "/tidepool.pem";
    int len = snprintf(file->path, sizeof file->path - sizeof name, "%s/tidepool-XXXXXX",
                       folder_for_files());
    if (len < 0 || (size_t)len >= sizeof file->path - sizeof name || mkdtemp(file->path) == NULL) {
        file->path[0] = '\0';
        return false;
    }
    memcpy(file->path + len, name, sizeof name);
    int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    bool made = fd >= 0 && write_all(fd, pem->text, pem->len);
    if (fd >= 0 && close(fd) != 0) {
        made = false;
    }
    if (made) {
        file->made_by = getpid();
        return true;
    }
    remove_file(file);
    file->path[0] = '\0';
    return false;
}

enum tp_status tp__tls_file_make(struct tp_tls_file *file, const struct tp_pem *pem,
                                 const char *path, struct tp_error *err)
{
    if (make_memfd(file, pem)) {
        return TP_OK;
    }
    if (path != NULL) {
        if (strlen(path) >= sizeof file->path) {
            return tp__error_set(err, TP_ERR_VALIDATION, "%s is too long a path", pem->label);
        }
        memcpy(file->path, path, strlen(path) + 1);
        return TP_OK;
    }
    if (make_file(file, pem)) {
        return TP_OK;
    }
    return tp__error_set(err, TP_ERR_TLS, "%s cannot be stored for libpq: %s", pem->label,
                         strerror(errno));
}

void tp__tls_file_init(struct tp_tls_file *file)
{
    file->fd = -1;
    file->made_by = 0;
    file->path[0] = '\0';
    file->from_path = false;
}

void tp__tls_file_deinit(struct tp_tls_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    /* A child of fork shares the file with its parent, who still needs it. */
    if (file->made_by != 0 && file->made_by == getpid()) {
        remove_file(file);
    }
    tp__tls_file_init(file);
}
