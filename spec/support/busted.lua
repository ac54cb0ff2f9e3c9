-- busted under the interpreter that runs this file. Debian's own `busted` starts whatever `lua` is, often 5.1.
require "busted.runner" { standalone = false }
