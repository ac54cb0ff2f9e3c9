#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "clock.h"
#include "tidepool.h"

/* The handler writes to a pipe, so that a signal just before a wait ends it, too. */
static struct {
    volatile sig_atomic_t came; /* the first signal; 0: none */
    int read_end, write_end;
    bool watches;
} noted = {.read_end = -1, .write_end = -1};

static struct {
    struct termios before;
    volatile sig_atomic_t changed;
} terminal;

/* ------------------------------------------------------------------ signals */

/* tcsetattr may be called by a handler (signal-safety(7)). */
static void set_back(void)
{
    if (terminal.changed) {
        terminal.changed = 0;
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    }
}

static void on_signal(int number)
{
    int error = errno;
    if (noted.came != 0) {
        set_back();
        signal(number, SIG_DFL);
        raise(number);
    }
    noted.came = number;
    (void)!write(noted.write_end, "", 1);
    errno = error;
}

/* Calls that were interrupted are not begun again: a write to a pipe that nobody reads has to end.
 */
static int console_watch(lua_State *L)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    int ends[2];
    if (noted.watches)
        return 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return luaL_error(L, "no pipe for signals: %s", strerror(errno));
    noted.read_end = ends[0];
    noted.write_end = ends[1];
    noted.watches = true;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before; /* nohup has it that SIGHUP is ignored */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
    return 0;
}

static int console_signal(lua_State *L)
{
    if (noted.came == 0)
        return 0;
    lua_pushinteger(L, noted.came);
    return 1;
}

/* ------------------------------------------------------------------ waiting */

static int64_t deadline_of(lua_State *L, int index)
{
    lua_Number seconds = luaL_optnumber(L, index, HUGE_VAL);
    if (!(seconds < 1e9))
        return TP_NEVER;
    return tp_now() + (seconds > 0 ? (int64_t)(seconds * 1e6) : 0);
}

static int console_wait(lua_State *L)
{
    struct pollfd on[] = {
        {.fd = (int)luaL_optinteger(L, 1, -1), .events = POLLIN},
        {.fd = lua_toboolean(L, 3) ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = noted.read_end, .events = POLLIN},
    };
    int64_t deadline = deadline_of(L, 2);
    int ready;
    do
        ready = poll(on, 3, deadline == TP_NEVER ? -1 : tp__poll_ms(deadline, tp_now()));
    while (ready < 0 && errno == EINTR && noted.came == 0);
    lua_pushboolean(L, ready > 0 && on[0].revents != 0);
    lua_pushboolean(L, ready > 0 && on[1].revents != 0);
    return 2;
}

/* ----------------------------------------------------------------- terminal */

static int console_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

static int console_size(lua_State *L)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 0;
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

/* Ctrl-C stays a signal; Ctrl-Z does nothing, since the shell would find the terminal changed. */
static bool take_keys(void)
{
    static bool registered;
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &terminal.before) != 0)
        return false;
    if (!registered)
        registered = atexit(set_back) == 0;
    raw = terminal.before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    terminal.changed = 1;
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static int console_keys(lua_State *L)
{
    bool on = lua_toboolean(L, 1);
    if (!on)
        set_back();
    lua_pushboolean(L, !on || terminal.changed || take_keys());
    return 1;
}

static int console_key(lua_State *L)
{
    char byte;
    if (read(STDIN_FILENO, &byte, 1) != 1)
        return 0;
    lua_pushlstring(L, &byte, 1);
    return 1;
}

void tpb_console_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"watch", console_watch}, {"signal", console_signal},
        {"wait", console_wait},   {"is_terminal", console_is_terminal},
        {"size", console_size},   {"keys", console_keys},
        {"key", console_key},     {NULL, NULL},
    };
    luaL_newlib(L, functions);
}
