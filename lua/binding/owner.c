/* The functions of nginx and of its LuaJIT are looked up by name when they are first needed:
 * this module also runs where there is no nginx. They are those that nginx offers to modules
 * (ngx_http_cleanup_add, since 0.7) and that lua-resty-core itself goes by. */
#include "owner.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Source: nginx, src/http/ngx_http_request.h. */
struct cleanup {
    void (*handler)(void *data);
    void *data;
    struct cleanup *next;
};

static struct {
    void *(*request_of)(lua_State *L);
    int (*phase_of)(void *request, char **err);
    struct cleanup *(*cleanup_add)(void *request, size_t size);
} nginx;

/* The phases whose requests are cleaned up later on, and that is: whose code may wait. When
 * the log phase runs, the cleanup is over; the requests of init_worker and exit_worker are made
 * up and have none. Source: lua-nginx-module, src/ngx_http_lua_common.h. */
enum {
    REWRITE = 0x0002,
    ACCESS = 0x0004,
    CONTENT = 0x0008,
    TIMER = 0x0080,
    SSL_CERT = 0x0400,
    SSL_SESSION_FETCH = 0x1000,
    SSL_CLIENT_HELLO = 0x4000,
    SERVER_REWRITE = 0x8000,
    MAY_WAIT = REWRITE | ACCESS | CONTENT | TIMER | SSL_CERT | SSL_SESSION_FETCH |
               SSL_CLIENT_HELLO | SERVER_REWRITE
};

/* What one request holds. It lies in the request's own memory. */
struct owner {
    struct tp_list link; /* in its bucket */
    const void *request;
    struct tp_list held;
};

enum { BUCKETS = 1024 };
static struct tp_list buckets[BUCKETS];

/* Requests are allocated, so the lowest bits say nothing. */
static struct tp_list *bucket_of(const void *request)
{
    uint64_t bits = (uint64_t)(uintptr_t)request >> 4;
    struct tp_list *bucket = &buckets[(bits * UINT64_C(0x9E3779B97F4A7C15)) >> 54];
    if (bucket->next == NULL)
        tp__list_init(bucket);
    return bucket;
}

static void request_ended(void *data)
{
    struct owner *owner = data;
    struct tp_list *first;
    while ((first = tp__list_first(&owner->held)) != NULL) {
        struct tpb_owned *owned = TP_CONTAINER(first, struct tpb_owned, link);
        tp__list_remove(first);
        owned->give_up(owned);
    }
    tp__list_remove(&owner->link);
}

/* NULL when the request is none that is cleaned up. */
static struct owner *new_owner(void *request)
{
    char *err = NULL;
    int phase = nginx.phase_of(request, &err);
    if (phase < 0 || (phase & MAY_WAIT) == 0)
        return NULL;
    struct cleanup *cleanup = nginx.cleanup_add(request, sizeof(struct owner));
    if (cleanup == NULL)
        return NULL;
    struct owner *owner = cleanup->data;
    owner->request = request;
    tp__list_init(&owner->held);
    tp__list_push_front(bucket_of(request), &owner->link);
    cleanup->handler = request_ended;
    return owner;
}

static struct owner *owner_of(void *request)
{
    struct tp_list *node, *following, *bucket = bucket_of(request);
    TP_LIST_EACH(node, following, bucket)
    {
        struct owner *owner = TP_CONTAINER(node, struct owner, link);
        if (owner->request == request)
            return owner;
    }
    return new_owner(request);
}

/* Its address is the key of a mark in the registry: the stream subsystem has Lua states of its
 * own in the same process, with requests of another kind. */
static const char follows = 'f';

static bool follows_requests(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&follows);
    lua_rawget(L, LUA_REGISTRYINDEX);
    bool yes = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return yes;
}

void tpb_owner_attach(lua_State *L, struct tpb_owned *owned,
                      void (*give_up)(struct tpb_owned *owned))
{
    tpb_owner_detach(owned);
    if (nginx.cleanup_add == NULL || !follows_requests(L))
        return;
    void *request = nginx.request_of(L);
    struct owner *owner = request == NULL ? NULL : owner_of(request);
    if (owner == NULL)
        return;
    owned->give_up = give_up;
    tp__list_push_front(&owner->held, &owned->link);
}

void tpb_owner_detach(struct tpb_owned *owned)
{
    if (owned->link.next != NULL)
        tp__list_remove(&owned->link);
}

/* POSIX has it that dlsym can give functions, C has no cast for it. */
static bool find(const char *name, void *function)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found != NULL)
        memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* Returns whether requests can be followed here. */
int tpb_owner_follow(lua_State *L)
{
    bool found = find("lua_getexdata", &nginx.request_of) &&
                 find("ngx_http_lua_ffi_get_phase", &nginx.phase_of) &&
                 find("ngx_http_cleanup_add", &nginx.cleanup_add);
    if (found) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)&follows);
        lua_pushboolean(L, 1);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
    lua_pushboolean(L, found);
    return 1;
}
