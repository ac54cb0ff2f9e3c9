/* What the command line needs of its terminal and of signals: the table core.console.
 *
 *   watch()           from now on SIGINT, SIGTERM and SIGHUP are noted; the second one ends the
 *                     process as it does by itself
 *   signal()          the number of the one that has come, or nil
 *   wait(fd, s, keys) waits until fd can be read (nil: no descriptor), with `keys` also until a key
 *                     was pressed, until a signal comes, at most s seconds (nil: no limit).
 *                     Returns whether fd, and whether a key, can be read
 *   is_terminal(fd)   whether a descriptor is one
 *   size()            columns and rows of the terminal that standard output is, or nil
 *   keys(on)          whether standard input gives each key at once and without an echo; the
 *                     end of the process, also by a signal, sets it back
 *   key()             one key, as a byte; nil at the end of the input
 *
 * Owns: the handlers and the terminal's mode, one for the process. Thread: the main one. */
#ifndef TPB_CONSOLE_H
#define TPB_CONSOLE_H

#include "compat.h"

/* Pushes the table. */
void tpb_console_open(lua_State *L);

#endif
