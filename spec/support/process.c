/* The Lua module spec.support.process: what the specs need of the operating system and Lua has not:
 * fork(2) and what belongs to it, limits and signals. */
#include <dlfcn.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <stdlib.h>

/* What threads had that the child has not would be taken for leaks at its exit. */
static void skip_leak_check(int status, void *arg)
{
    (void)arg;
    _exit(status);
}
#endif

/* fork(): the child's pid, 0 in the child. A child that hangs is ended by SIGALRM. */
static int process_fork(lua_State *L)
{
    enum { CHILD_AT_MOST_S = 60 };
    pid_t pid = fork();
    if (pid < 0)
        return luaL_error(L, "fork: %s", strerror(errno));
    if (pid == 0) {
        alarm(CHILD_AT_MOST_S);
#if defined(__SANITIZE_ADDRESS__)
        on_exit(skip_leak_check, NULL);
#endif
    }
    lua_pushinteger(L, pid);
    return 1;
}

/* wait(pid): how the child ended: "exit" or "signal", and the number. */
static int process_wait(lua_State *L)
{
    int status = 0;
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return luaL_error(L, "waitpid: %s", strerror(errno));
    }
    lua_pushstring(L, WIFEXITED(status) ? "exit" : "signal");
    lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return 2;
}

/* alarm(seconds): SIGALRM ends this process then, whatever it does. */
static int process_alarm(lua_State *L)
{
    alarm((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

/* quit(code): ends the process without closing anything. */
static int process_quit(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

/* limit_files(n): from now on descriptors have numbers below n. */
static int process_limit_files(lua_State *L)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return luaL_error(L, "getrlimit: %s", strerror(errno));
    limit.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return luaL_error(L, "setrlimit: %s", strerror(errno));
    return 0;
}

/* fail_malloc(n): the n-th call for memory from now on fails, 0: none does. Returns whether one has
 * failed. Only where failing_malloc.c is preloaded. */
static int process_fail_malloc(lua_State *L)
{
    int (*fail)(long n);
    void *found = dlsym(RTLD_DEFAULT, "spec_fail_malloc");
    if (found == NULL)
        return luaL_error(L, "failing_malloc.so is not preloaded");
    memcpy(&fail, &found, sizeof found);
    lua_pushboolean(L, fail((long)luaL_checkinteger(L, 1)));
    return 1;
}

static volatile sig_atomic_t interruptions;

static void interrupted(int number)
{
    (void)number;
    interruptions++;
}

/* interrupt(us): a signal each `us` microseconds from now on (0: no more), which interrupts system
 * calls. Returns how many there were so far. */
static int process_interrupt(lua_State *L)
{
    struct sigaction action = {.sa_handler = interrupted}; /* no SA_RESTART */
    struct itimerval every = {{0, (suseconds_t)luaL_checkinteger(L, 1)}, {0, 0}};
    every.it_value = every.it_interval;
    if (sigaction(SIGALRM, &action, NULL) != 0 || setitimer(ITIMER_REAL, &every, NULL) != 0)
        return luaL_error(L, "setitimer: %s", strerror(errno));
    lua_pushinteger(L, interruptions);
    return 1;
}

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int luaopen_spec_support_process(lua_State *L);

int luaopen_spec_support_process(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, process_fork);
    lua_setfield(L, -2, "fork");
    lua_pushcfunction(L, process_wait);
    lua_setfield(L, -2, "wait");
    lua_pushcfunction(L, process_alarm);
    lua_setfield(L, -2, "alarm");
    lua_pushcfunction(L, process_quit);
    lua_setfield(L, -2, "quit");
    lua_pushcfunction(L, process_limit_files);
    lua_setfield(L, -2, "limit_files");
    lua_pushcfunction(L, process_interrupt);
    lua_setfield(L, -2, "interrupt");
    lua_pushcfunction(L, process_fail_malloc);
    lua_setfield(L, -2, "fail_malloc");
    return 1;
}
