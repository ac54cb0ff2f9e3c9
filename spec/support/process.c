/* The Lua module spec.support.process: fork(2) and what belongs to it, for the specs of
 * what a child makes of its parent's pools; and alarm(2). */
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>
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
    return 1;
}
