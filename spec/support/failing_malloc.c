/* Preloaded (LD_PRELOAD): memory that runs out for the core, at a call that a spec chooses. Others,
 * Lua among them, always get what they ask for; so does libpq 15, which forgets the end of a
 * pipeline for which it had no memory, and waits for it until the caller's deadline (measured). */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* What glibc itself calls them. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);

static atomic_long left; /* the call that fails when this comes to 0 */
static atomic_bool armed, failed;

/* From now on the n-th call fails; 0: none does. Returns whether one has failed since it was called
 * last. */
int spec_fail_malloc(long n);

__attribute__((visibility("default"))) int spec_fail_malloc(long n)
{
    atomic_store(&armed, false);
    bool before = atomic_exchange(&failed, false);
    atomic_store(&left, n);
    atomic_store(&armed, n > 0);
    return before;
}

static bool fails(const void *caller)
{
    Dl_info from;
    if (!atomic_load(&armed) || dladdr(caller, &from) == 0 || from.dli_fname == NULL)
        return false;
    if (strstr(from.dli_fname, "/tidepool/core.so") == NULL)
        return false;
    if (atomic_fetch_sub(&left, 1) != 1)
        return false;
    atomic_store(&failed, true);
    return true;
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

__attribute__((visibility("default"))) void *realloc(void *block, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}
