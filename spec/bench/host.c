/* The Lua module bench_host: clocks, and programs that are asked line by line.
 *
 *   now(), cpu()            seconds: monotonic; user and system time of this process
 *   spawn({word, ...})      starts a program, returns it; nil and a message when that failed
 *   program:ask(text, s)    sends text (nil or "" sends nothing) and returns the next line of the
 * program's output; nil and "timeout" after s seconds, nil and "ended" when it has ended
 *   program:pid()           its process id, nil once it was stopped
 *   program:stop()          ends it with everything that it started
 *
 * Every program leads a process group of its own and dies with the thread that started it. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "bench_host.program"
enum { MAX_WORDS = 32, LINE_SIZE = 4096 };

struct program {
    pid_t pid; /* 0: stopped */
    int to, from;
    size_t used; /* bytes of `line` that were read and not yet returned */
    char line[LINE_SIZE];
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int host_now(lua_State *L)
{
    lua_pushnumber(L, seconds_now());
    return 1;
}

static int host_cpu(lua_State *L)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    lua_pushnumber(L, (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                          (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    return 1;
}

/* In the child: never returns. */
static void become(char *const words[], int in, int out, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(126);
    signal(SIGPIPE, SIG_DFL);
    execvp(words[0], words);
    _exit(127);
}

static bool start(struct program *program, char *const words[])
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
        return false;
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return false;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(words, in[0], out[1], parent);
    close(in[0]);
    close(out[1]);
    program->to = in[1];
    program->from = out[0];
    program->pid = pid < 0 ? 0 : pid;
    if (pid < 0) {
        close(in[1]);
        close(out[0]);
    }
    return pid > 0;
}

static int host_spawn(lua_State *L)
{
    char *words[MAX_WORDS + 1];
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count > 0 && count <= MAX_WORDS, 1, "1 to 32 words expected");
    luaL_checkstack(L, MAX_WORDS + 4, NULL);
    struct program *program = lua_newuserdatauv(L, sizeof *program, 0);
    memset(program, 0, sizeof *program);
    luaL_setmetatable(L, PROGRAM);
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, 1, i + 1);
        words[i] = (char *)(uintptr_t)luaL_checkstring(L, -1); /* exec does not write to it */
    }
    words[count] = NULL;
    if (!start(program, words)) {
        luaL_pushfail(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    lua_settop(L, 2);
    return 1;
}

static bool send_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text += n;
        length -= (size_t)n;
    }
    return true;
}

/* Pushes the first whole line of what was read, without its end, when there is one. */
static bool push_line(lua_State *L, struct program *program)
{
    char *end = memchr(program->line, '\n', program->used);
    if (end == NULL && program->used < LINE_SIZE)
        return false;
    size_t length = end == NULL ? program->used : (size_t)(end - program->line);
    size_t taken = end == NULL ? length : length + 1;
    lua_pushlstring(L, program->line, length);
    program->used -= taken;
    memmove(program->line, program->line + taken, program->used);
    return true;
}

static int fail(lua_State *L, const char *why)
{
    luaL_pushfail(L);
    lua_pushstring(L, why);
    return 2;
}

static int program_ask(lua_State *L)
{
    struct program *program = luaL_checkudata(L, 1, PROGRAM);
    size_t length;
    const char *text = luaL_optlstring(L, 2, "", &length);
    double deadline = seconds_now() + luaL_checknumber(L, 3);
    if (program->pid == 0 || !send_all(program->to, text, length))
        return fail(L, "ended");
    while (!push_line(L, program)) {
        struct pollfd wait = {.fd = program->from, .events = POLLIN};
        double left = deadline - seconds_now();
        if (left <= 0)
            return fail(L, "timeout");
        if (poll(&wait, 1, (int)(left * 1000) + 1) <= 0)
            continue;
        ssize_t n = read(program->from, program->line + program->used, LINE_SIZE - program->used);
        if (n == 0 || (n < 0 && errno != EINTR))
            return fail(L, "ended");
        program->used += n > 0 ? (size_t)n : 0;
    }
    return 1;
}

static int program_pid(lua_State *L)
{
    struct program *program = luaL_checkudata(L, 1, PROGRAM);
    if (program->pid == 0)
        luaL_pushfail(L);
    else
        lua_pushinteger(L, program->pid);
    return 1;
}

/* A program that reads the end of its input has 2 seconds to end by itself, which lets it say
 * goodbye to the server. */
static int program_stop(lua_State *L)
{
    struct program *program = luaL_checkudata(L, 1, PROGRAM);
    if (program->pid == 0)
        return 0;
    close(program->to);
    close(program->from);
    bool ended = false;
    for (int i = 0; i < 200 && !ended; i++) {
        ended = waitpid(program->pid, NULL, WNOHANG) == program->pid;
        if (!ended)
            nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
    if (!ended) {
        kill(-program->pid, SIGKILL);
        waitpid(program->pid, NULL, 0);
    }
    program->pid = 0;
    return 0;
}

int luaopen_bench_host(lua_State *L);
int luaopen_bench_host(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"ask", program_ask}, {"pid", program_pid}, {"stop", program_stop}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"now", host_now}, {"cpu", host_cpu}, {"spawn", host_spawn}, {NULL, NULL}};
    signal(SIGPIPE, SIG_IGN);
    luaL_newmetatable(L, PROGRAM);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, program_stop);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, functions);
    return 1;
}
