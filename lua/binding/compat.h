/* Lua's headers, for every file of the binding.
 *
 * The binding is written against the C API of Lua 5.4. This header is the only one that includes
 * Lua's own. */
#ifndef TIDEPOOL_BINDING_COMPAT_H
#define TIDEPOOL_BINDING_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#endif
