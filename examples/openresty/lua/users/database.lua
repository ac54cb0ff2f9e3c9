--- The database of this service: one pool for each worker of nginx.
-- Opening waits for nothing, so that it may be done while nginx starts; each worker connects when it first has to.
local tidepool = require "tidepool"

local db, err = tidepool.open {
    application_name = "users",
    pool = { min = 1, max = 8, acquire_timeout_ms = 2000 },
    log = { queries = false },
}
if not db then
    error(tostring(err), 0) -- nginx shows errors that are text
end
return db
