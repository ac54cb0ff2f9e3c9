---@meta tidepool
-- Annotations for editors that run the Lua language server (LuaLS, EmmyLua). Nothing requires this file; the
-- functions in it do nothing. spec/meta_spec.lua compares it with what there is.
-- luacheck: no unused, no self

-- ------------------------------------------------------------------ values

---@alias tidepool.state_name "unconfigured"|"starting"|"connected"|"unreachable"|"suspended"|"draining"|"closed"
---@alias tidepool.breaker_state "closed"|"open"|"half_open"
---@alias tidepool.event_name
---| "connect"|"remove"|"error"|"retry"|"state"|"notice"|"rollback"|"breaker"|"leak"
---| "held"|"returned"|"idle_in_transaction"
---| "tls_expiring"|"tls_reload"|"overflow"|"gap"|"verdict"
---| "query_start"|"query_end"|"slow"|"acquire"|"release"|"repeats"
---@alias tidepool.transaction_state "idle"|"active"|"open"|"failed"|"unknown"|"inherited"
---@alias tidepool.error_kind
---| "database" # the server refused or failed a statement
---| "validation" # a value or an option is wrong
---| "connection" # no connection could be made, or it was lost
---| "tls" # certificates, keys or the TLS handshake
---| "pool_timeout" # no connection came free by the deadline
---| "timeout" # the statement did not answer by its deadline
---| "pool_closed" # the pool is closed or draining
---| "not_configured" # nothing says where the server is
---| "commit_unknown" # the link died at COMMIT: it may have been carried out
---| "busy" # waiting would be pointless
---| "memory" # out of memory in the core

---An error, as the second value of calls that return nil. tostring gives one line.
---@class tidepool.error
---@field kind tidepool.error_kind
---@field message string
---@field retryable boolean # the same call may succeed if simply repeated
---@field attempts integer # how often it was tried
---@field code? string # SQLSTATE
---@field name? string # the name of its condition: "unique_violation"
---@field severity? string # "ERROR", "FATAL", "PANIC"
---@field detail? string
---@field hint? string
---@field position? integer # the character in the SQL text
---@field where? string
---@field schema? string
---@field table? string
---@field column? string
---@field constraint? string
---@field query? string # the beginning of the SQL text
---@field verdict? "aborted"|"unknown" # of a transaction whose link was lost at COMMIT
---@field xid? string # its id
---@field holders? tidepool.holder[] # of "pool_timeout": who had the connections
---@field blockers? tidepool.blocker[] # of "pool_timeout": which of them wait for locks, if that is known
---@field item? integer # of a pipeline or query_many: the number of the statement that failed

---@class tidepool.column
---@field name string
---@field type string # "int4", "text", "_int4" for a list of int4
---@field oid integer

---What a statement did.
---@class tidepool.command
---@field command string # "UPDATE"
---@field count integer # rows selected or touched
---@field stopped? boolean # of copy_out: the sink had enough

---The rows of a statement: tables by column name, or as `as` says.
---@class tidepool.rows: tidepool.command
---@field columns tidepool.column[]
---@field [integer] table<string, any>|any[]
---@field [string] any[] # with as = "columns"

---Rows of `each` that have not been read yet.
---@class tidepool.stream
local stream = {}

---Ends the reading; needed before Lua 5.4 when a loop over `each` is left early.
function stream:close() end

---What the rows consist of; also when there are none.
---@return tidepool.column[]
function stream:columns() end

---What the statement has done, once the last row was read; nil before.
---@return tidepool.command|nil
function stream:result() end

-- ------------------------------------------------------------ notifications

---A notification; or, with gap = true, the place where some may be missing.
---@class tidepool.note
---@field channel? string
---@field payload? string
---@field backend_pid? integer # who sent it
---@field gap? true
---@field reason? "lost"|"replaced"|"overflow" # of a gap
---@field dropped? integer # of a gap: how many are missing, when that is known

---@class tidepool.listen_options
---@field limit? integer # how many notifications may wait; 10000
---@field overflow? "gap"|"oldest"|"newest" # what is dropped of more: all, the oldest, or the one that comes
---@field timeout_ms? number # how long to wait for the server; pool.acquire_timeout_ms

---@class tidepool.listener
local listener = {}

---Waits for the next notification or gap; without a time for as long as it takes.
---@param timeout_ms? number
---@return tidepool.note? note
---@return tidepool.error? err
function listener:next(timeout_ms) end

---For a generic for, until the listener or its pool is closed.
---@return fun(): tidepool.note?
function listener:each() end

---Calls fn with each notification and gap until it returns false, or the listener or its pool is closed.
---@param fn fun(note: tidepool.note): any
---@return true
function listener:run(fn) end

---Whether it hears no more: it or its pool was closed, or the process was forked.
---@return boolean
function listener:is_closed() end

---Hears no more; whoever waits with it is told.
---@return true
function listener:close() end

-- ----------------------------------------------------------------- options

---SQL text, or a table with the text and options of this call.
---@alias tidepool.sql string|tidepool.call_options

---@class tidepool.call_retry
---@field attempts? integer # how often it is tried at most
---@field base_ms? number # the delay before the first repetition
---@field max_ms? number # the longest delay

---@class tidepool.call_options
---@field [1] string # the SQL text
---@field timeout_ms? number # how long the call may take, waiting for a connection included
---@field idempotent? boolean # it may be repeated when the link dies after sending
---@field retry? false|tidepool.call_retry # instead of what the database was opened with; false: not at all
---@field as? "rows"|"arrays"|"columns"|"lazy"
---@field nulls? boolean # NULL is tidepool.null
---@field numbers? boolean # numeric is a Lua number
---@field text? boolean # every value is a string, as the server writes it
---@field int64? "cdata" # on LuaJIT: integers past 2^53 are int64_t
---@field max_rows? integer # more are an error
---@field max_result_bytes? integer # more are an error
---@field tags? tidepool.tags # sent behind the text as a comment
---@field application_name? string # of the session while it runs

---Names and values, in the way of sqlcommenter: { traceparent = "00-...", route = "/x" }.
---@alias tidepool.tags table<string, string|number|boolean>

---@class tidepool.pipeline_options
---@field timeout_ms? number # of the whole

---@class tidepool.transaction_options
---@field isolation? "serializable"|"repeatable read"|"read committed"|"read uncommitted"
---@field read_only? boolean
---@field deferrable? boolean
---@field retries? integer # how often the whole block may be run again
---@field retry? tidepool.call_retry # the same as attempts, with the pauses
---@field timeout_ms? number # how long to wait for a connection
---@field deadline_ms? number # how long the whole may take, repetitions included
---@field tags? tidepool.tags # of all statements within
---@field application_name? string # of the session while they run

---Of db:with.
---@class tidepool.with_options
---@field timeout_ms? number # how long to wait for a connection
---@field deadline_ms? number # how long the whole may take
---@field tags? tidepool.tags # of all statements within
---@field application_name? string # of the session while they run

---@class tidepool.copy_in_options
---@field format? "text"|"binary"|"csv"
---@field raw? boolean # ready COPY data instead of rows
---@field timeout_ms? number # how long the whole call may take
---@field progress? fun(rows: integer?, bytes: integer)
---@field header? boolean # of raw data, as what follows
---@field delimiter? string
---@field null? string
---@field quote? string
---@field escape? string
---@field encoding? string

---@class tidepool.copy_out_options: tidepool.copy_in_options
---@field as? "rows"|"arrays"
---@field nulls? boolean
---@field numbers? boolean

---@alias tidepool.signal "TERM"|"INT"|"HUP"|"QUIT"|"USR1"|"USR2"

---@class tidepool.shutdown_options
---@field [integer] tidepool.signal
---@field drain_ms? number # how long to wait for borrowed connections; 30000 when not said

---@class tidepool.suspend_options
---@field wait_ms? number # how long to wait until borrowed connections have come back

---@class tidepool.type_definition
---@field name string # "point", "audit.mood"
---@field decode? fun(text: string): any
---@field encode? fun(value: any): string

---@class tidepool.pool_options
---@field min? integer # connections that are kept open even when nothing uses them
---@field max? integer # the most connections that are open at one time
---@field idle_timeout_ms? integer # after how long without use a connection above min is closed; 0 is never
---@field acquire_timeout_ms? integer # how long a caller waits for a free connection
---@field max_uses? integer # after how many loans a connection is replaced; 0 is never
---@field max_lifetime_ms? integer # at what age a connection is replaced; 0 is never
---@field max_waiting? integer # how many callers may wait before others are refused; 0 is no limit
---@field leak_after_ms? integer # after how long on loan a connection is warned of; 0 is never
---@field max_total? integer # the most connections of all processes together that share a budget; 0 is no limit
---@field budget? string # the name of the budget that max_total is about
---@field adaptive? boolean # whether the pool finds out how many connections are of use

---@class tidepool.health_options
---@field interval_ms? integer # how often idle connections are checked; 0 is never

---@class tidepool.breaker_options
---@field failures? integer # after how many failures to connect in a row calls fail fast; 0 is never
---@field open_ms? integer # the longest time between tries to connect then

---@class tidepool.tls_options
---@field mode? "disable"|"allow"|"prefer"|"require"|"verify-ca"|"verify-full"
---@field verify? boolean # whether the server's certificate and host name are verified
---@field ca? string # certificates to trust: a path, PEM or base64 of PEM
---@field cert? string # client certificate: a path, PEM or base64 of PEM
---@field key? string # private key of the client certificate: a path, PEM or base64 of PEM
---@field crl? string # certificates that were revoked: a path, PEM or base64 of PEM
---@field server_name? string # asked for (SNI) and verified instead of host, which is connected to
---@field min_version? "TLSv1.2"|"TLSv1.3"
---@field channel_binding? "disable"|"prefer"|"require"

---@class tidepool.stats_options
---@field shared? boolean # whether statistics are summed over all processes of one budget

---@class tidepool.log_options
---@field queries? boolean # whether each query is logged
---@field connections? boolean # whether connections are logged as they come and go
---@field slow_ms? integer # from what duration on a query is logged as slow; 0 is never
---@field explain? integer # how many of 100 slow queries have their plan asked for
---@field repeats? integer # how often a statement may be made in one block before a warning; 0 is any number
---@field parameters? boolean # whether the values of parameters are logged, too
---@field format? "text"|"json"
---@field sink? "stderr"|"ngx"|fun(level: string, message: string, fields: table<string, any>)

---@class tidepool.retry_options
---@field attempts? integer # how often a statement that may safely be repeated is tried
---@field base_ms? integer # the delay before the first repetition
---@field max_ms? integer # the longest delay between repetitions
---@field jitter? integer # how much of a delay is random, in percent
---@field budget? integer # how many repetitions there may be per 100 calls; 100 is no limit
---@field verdict_ms? integer # how long is asked what became of a lost COMMIT; 0 is never

---@class tidepool.limits_options
---@field sql_bytes? integer # the longest SQL text
---@field parameter_bytes? integer # of one statement's parameters together
---@field rows? integer # the most rows of a result that is no stream; 0 is no limit
---@field result_bytes? integer # the most bytes of a result that is no stream; 0 is no limit
---@field events? integer # the most events that wait for the program

---@class tidepool.statements_options
---@field max? integer # how many different statements have statistics; 0 is none

---What a program gives to use an event loop of its own; see lua/tidepool/await/adapter.lua.
---@class tidepool.adapter
---@field name string
---@field current fun(said: boolean): any, string?
---@field spawn fun(fn: fun())
---@field wait fun(fd: integer, seconds: number?)
---@field token fun(): any
---@field park fun(token: any)
---@field wake fun(token: any)
---@field timers? boolean
---@field shared? boolean

---What a password is made for.
---@class tidepool.password_for
---@field host? string
---@field port? integer
---@field user? string
---@field database? string

---@class tidepool.open_options
---@field url? string # postgresql://user:password@host:port/database?parameter=value
---@field host? string # name, address or socket directory; several are separated by commas
---@field port? integer|string
---@field database? string
---@field user? string
---@field password? string|fun(where: tidepool.password_for): string?, any # a function: called for each new connection
---@field hostaddr? string # numeric address to connect to
---@field application_name? string
---@field target_session_attrs? "any"|"read-write"|"read-only"|"primary"|"standby"|"prefer-standby"
---@field options? string # command-line options for the server session
---@field name? string # whoever opens the pool by this name in this process shares it
---@field profile? "production"|"development"
---@field connect_timeout_ms? integer
---@field statement_timeout_ms? integer # the server's own statement_timeout
---@field lock_timeout_ms? integer # the server's own lock_timeout
---@field idle_in_transaction_timeout_ms? integer # the server's own idle_in_transaction_session_timeout
---@field query_timeout_ms? integer # how long a call may take when it does not say so itself
---@field prepare? boolean # whether statements are prepared
---@field reset? "always"|"smart"|"never"
---@field statement_cache_size? integer
---@field pool? tidepool.pool_options
---@field health? tidepool.health_options
---@field breaker? tidepool.breaker_options
---@field tls? boolean|tidepool.tls_options # whether connections over TCP are encrypted
---@field log? tidepool.log_options
---@field stats? tidepool.stats_options
---@field retry? tidepool.retry_options
---@field limits? tidepool.limits_options
---@field statements? tidepool.statements_options
---@field allow_old_libpq? boolean # whether a libpq with CVE-2025-1094 will do
---@field libpq? table<string, string|number|boolean> # any other parameter of libpq's
---@field await? "nginx"|"cqueues"|"luv"|"copas"|"blocking"|tidepool.adapter # how calls wait

-- -------------------------------------------------------------- statistics

---A connection on loan.
---@class tidepool.holder
---@field backend_pid integer
---@field age_ms number # since it was acquired
---@field transaction tidepool.transaction_state # "active": a statement is under way
---@field sql string # the beginning of its last statement; empty: there was none
---@field place? string # where it was acquired, "app.lua:12", if that is known

---A backend of the server that waits for a lock.
---@class tidepool.blocker
---@field pid integer
---@field blocked_by integer[] # the backends that it waits for; 0: a prepared transaction
---@field query string # its statement, up to the first text constant; empty: another role's
---@field wait_ms number
---@field state string # as in pg_stat_activity

---Percentiles of durations.
---@class tidepool.bucket
---@field le_ms number
---@field count integer # of all that are not above le_ms

---@class tidepool.latency
---@field count integer
---@field sum_ms number
---@field mean_ms number
---@field p50_ms number
---@field p95_ms number
---@field p99_ms number
---@field p999_ms number
---@field max_ms number
---@field buckets? tidepool.bucket[] # when asked for

---Connections that ended, by reason.
---@class tidepool.closed
---@field idle_timeout integer
---@field max_lifetime integer
---@field max_uses integer
---@field dead integer
---@field in_doubt integer
---@field server_gone integer
---@field pool_closed integer
---@field discarded integer
---@field budget integer
---@field replaced integer # by db:reload_tls
---@field evicted integer # by db:evict_all
---@field shrunk integer # by pool.adaptive

---Transactions that were begun by BEGIN, by how they ended.
---@class tidepool.ended_transactions
---@field committed integer
---@field rolled_back integer

---@class tidepool.stats_wanted
---@field buckets? boolean # with the cumulative counts of each latency
---@field shared? boolean # of all processes that share statistics

---@class tidepool.stats
---@field total_connections integer
---@field idle_connections integer
---@field active_connections integer
---@field connecting integer
---@field mending integer
---@field waiting_requests integer
---@field max integer
---@field min integer
---@field processes? integer # that share statistics and live; when asked for these
---@field limit integer # max, or what pool.adaptive has come to
---@field breaker tidepool.breaker_state
---@field fail_fast integer # calls that were told at once that no connection can be made
---@field acquires integer
---@field acquire_timeouts integer
---@field acquire_cancels integer
---@field created integer
---@field connect_failures integer
---@field queries integer
---@field query_failures integer
---@field retries integer
---@field retries_refused integer # by retry.budget
---@field rollbacks integer # connections that came back in an open transaction
---@field leaks integer # connections that were lost to the garbage collector
---@field slow_queries integer # that took log.slow_ms or longer
---@field statements_prepared integer
---@field statement_hits integer
---@field statement_evictions integer
---@field listeners integer # now
---@field notifications integer # that came for listeners
---@field success_rate number # of queries, 0 to 1
---@field closed tidepool.closed
---@field errors table<string, integer> # by kind
---@field errors_by_class table<string, integer> # by the first two characters of the SQLSTATE
---@field transactions tidepool.ended_transactions
---@field wait tidepool.latency # for a connection
---@field connect tidepool.latency
---@field query tidepool.latency
---@field transaction tidepool.latency # from BEGIN to the end
---@field held tidepool.latency # from acquire to release

---@class tidepool.statements_wish
---@field limit? integer # how many; 20 when not said
---@field by? "total_ms"|"calls"|"mean_ms"|"p99_ms"|"errors"

---@class tidepool.statement
---@field query string # what all texts of the statement have in common
---@field calls integer
---@field rows integer # that were returned or touched
---@field errors integer
---@field total_ms number
---@field mean_ms number
---@field p99_ms number
---@field max_ms number

---@class tidepool.state
---@field state tidepool.state_name
---@field is_connected boolean
---@field error_count integer # failed connects since the last good one
---@field breaker tidepool.breaker_state
---@field next_try_ms? number # while the breaker is open: until a connection is tried again
---@field last_error? tidepool.error

---What db:health has found.
---@class tidepool.health
---@field status "healthy"|"degraded"|"unhealthy"
---@field reasons string[] # why it is not healthy
---@field checked_at number # seconds since 1970
---@field latency_ms? number # how long the server took; nil when it was not asked
---@field error? tidepool.error # when it did not answer
---@field state tidepool.state_name
---@field is_connected boolean
---@field error_count integer
---@field last_error? tidepool.error
---@field breaker tidepool.breaker_state
---@field total_connections integer
---@field waiting_requests integer

---@class tidepool.certificate
---@field subject string
---@field issuer string
---@field not_before string # "2027-01-31T12:00:00Z"
---@field not_after string
---@field days_left integer

---@class tidepool.crl
---@field next_update string
---@field days_left integer

---@class tidepool.tls_warning
---@field name "tls_expiring"|"tls_reload"
---@field message string
---@field of? "server"|"cert"|"ca"|"crl"
---@field days_left? integer

---@class tidepool.tls
---@field mode? string # tls.mode; nil when nothing is configured
---@field version? string # of the connection that was made last, as the next three
---@field cipher? string
---@field bits? integer
---@field server? tidepool.certificate
---@field cert? tidepool.certificate # the client's
---@field ca? tidepool.certificate # what the server is verified by
---@field crl? tidepool.crl
---@field warnings tidepool.tls_warning[]

---@class tidepool.tls_values
---@field ca? string
---@field cert? string
---@field key? string
---@field crl? string

---@class tidepool.event
---@field event tidepool.event_name
---@field message string
---@field time number # seconds since 1970
---@field backend_pid? integer
---@field attempt? integer
---@field code? string
---@field verdict? "committed"|"aborted"|"unknown" # of the event "verdict"
---@field xid? string

---Of query_start, query_end (the same table) and slow.
---@class tidepool.query_event
---@field event tidepool.event_name
---@field time integer # seconds since 1970, when it began
---@field sql string
---@field parameters integer # how many
---@field values? any[] # of the parameters, with log.parameters
---@field tags? tidepool.tags # its own, or those of its block; with a handler of query_start
---@field span table # the program's, from query_start to query_end
---@field duration_ms number
---@field rows integer # that were returned or touched
---@field command string # "SELECT"; "" when it has failed
---@field error? tidepool.error
---@field place? string # of a slow query: where the program made it

---Of acquire and release.
---@class tidepool.lease_event
---@field event tidepool.event_name
---@field time integer
---@field backend_pid integer
---@field wait_ms? number # until it was lent
---@field held_ms? number # until it came back

---Of repeats.
---@class tidepool.repeats_event
---@field event tidepool.event_name
---@field message string
---@field time integer
---@field sql string # what all texts of the statement have in common
---@field count integer
---@field place string # where the program made the last of them

---@class tidepool.slow_query
---@field time integer # seconds since 1970
---@field query string # the beginning of its text
---@field duration_ms number
---@field parameters integer # how many
---@field place? string # where the program made it
---@field plan? string # with log.explain, a moment later

---@class tidepool.option_info
---@field name string
---@field type "string"|"int"|"ms"|"bool"|"enum"|"secret"
---@field environment string
---@field url string
---@field production string
---@field development string
---@field choices string
---@field doc string

---@class tidepool.sqlstate_info
---@field name string
---@field class string
---@field retryable boolean

-- ------------------------------------------------------------------ module

---@class tidepool
---@field _VERSION string
---@field null userdata # NULL inside of tables, the same value as cjson.null
---@field array_mt table # the metatable that array gives
local tidepool = {}

---Opens a pool. Never waits, and does not fail because the server is away.
---@param where? string|tidepool.open_options # a URL or options; nil: as the environment says
---@return tidepool.db? db
---@return tidepool.error? err
function tidepool.open(where) end

---Whether something says where the server is.
---@param where? string|tidepool.open_options
---@return boolean? configured
---@return tidepool.error? err
function tidepool.is_configured(where) end

---Signals that end the process once its work with its databases is done; a second one ends it at once.
---@param signals tidepool.shutdown_options
---@return true? done
---@return tidepool.error? err
function tidepool.shutdown_on(signals) end

---The table of options.
---@return tidepool.option_info[]
function tidepool.options() end

---Sends any Lua value as JSON, also a plain string or number.
---@param value any
---@return any
function tidepool.json(value) end

---Marks a table as a JSON array, so that an empty one is sent as [].
---@generic T: table
---@param list T
---@return T
function tidepool.array(list) end

---The name as an SQL identifier.
---@param name string
---@return string? identifier
---@return tidepool.error? err
function tidepool.quote_identifier(name) end

---The text as an SQL string constant.
---@param text string
---@return string? literal
---@return tidepool.error? err
function tidepool.quote_literal(text) end

---assert that raises errors of tidepool's as they are, on every Lua.
---@generic T
---@param value T?
---@param ... any # the error, and what else there is
---@return T value
---@return any ... # what was behind it
function tidepool.assert(value, ...) end

---What is known of an SQLSTATE.
---@param code string
---@return tidepool.sqlstate_info?
function tidepool.sqlstate(code) end

-- --------------------------------------------------------------- statements

---What databases, connections and transactions have in common.
---@class tidepool.executor
local executor = {}

---All rows of a statement.
---@param sql tidepool.sql
---@param ... any # parameters
---@return tidepool.rows? rows
---@return tidepool.error? err
function executor:query(sql, ...) end

---Sends a notification; in a transaction, when it is committed.
---@param channel string # at most 63 bytes
---@param payload? string|number # less than 8000 bytes
---@return true? sent
---@return tidepool.error? err
function executor:notify(channel, payload) end

---The first row of a statement, nil when there is none.
---@param sql tidepool.sql
---@param ... any # parameters
---@return table<string, any>? row
---@return tidepool.error? err
function executor:one(sql, ...) end

---The first column of the first row.
---@param sql tidepool.sql
---@param ... any # parameters
---@return any value
---@return tidepool.error? err
function executor:value(sql, ...) end

---A statement of which no rows are wanted.
---@param sql tidepool.sql
---@param ... any # parameters
---@return tidepool.command? done
---@return tidepool.error? err
function executor:exec(sql, ...) end

---Many statements without parameters: a result for each.
---@param sql tidepool.sql
---@return tidepool.rows[]? results
---@return tidepool.error? err
function executor:script(sql) end

---Rows while they come, for a loop. Errors are raised.
---@param sql tidepool.sql
---@param ... any # parameters
---@return fun(): table<string, any>|any[]|nil next_row
---@return nil
---@return nil
---@return tidepool.stream rows # closed by a loop that is left early, in Lua 5.4
function executor:each(sql, ...) end

---The answers of the statements that fn collects, in one round trip.
---@param fn fun(p: tidepool.pipeline)
---@param options? tidepool.pipeline_options
---@return any[]? answers
---@return tidepool.error? err
function executor:pipeline(fn, options) end

---One statement for each list of parameters, in one round trip.
---@param sql tidepool.sql
---@param lists any[][]
---@return tidepool.command? done # when it returns rows, a list of results besides
---@return tidepool.error? err
function executor:query_many(sql, lists) end

---Stores rows by COPY ... FROM STDIN.
---@param target string # "users", "users(id, name)" or a whole COPY statement
---@param source table[]|string|file*|fun(): table|string|nil
---@param options? tidepool.copy_in_options
---@return tidepool.command? done
---@return tidepool.error? err
function executor:copy_in(target, source, options) end

---Reads rows by COPY ... TO STDOUT.
---@param source string # "users", "(select ...)" or a whole COPY statement
---@param sink file*|fun(row: any): boolean?
---@param options? tidepool.copy_out_options
---@return tidepool.command? done
---@return tidepool.error? err
function executor:copy_out(source, sink, options) end

---What a pipeline collects. Each method returns the position that its answer will have.
---@class tidepool.pipeline
local pipeline = {}

---@param sql tidepool.sql
---@param ... any # parameters
---@return integer position
function pipeline:query(sql, ...) end

---@param sql tidepool.sql
---@param ... any # parameters
---@return integer position
function pipeline:one(sql, ...) end

---@param sql tidepool.sql
---@param ... any # parameters
---@return integer position
function pipeline:value(sql, ...) end

---@param sql tidepool.sql
---@param ... any # parameters
---@return integer position
function pipeline:exec(sql, ...) end

-- ------------------------------------------------------------- transactions

---@class tidepool.transaction: tidepool.executor
local transaction = {}

---A transaction within, by a savepoint.
---@param fn fun(tx: tidepool.transaction): ...
---@return any ... # what fn returns, or nil and an error
function transaction:transaction(fn) end

-- -------------------------------------------------------------- connections

---A connection on loan.
---@class tidepool.connection: tidepool.executor
local connection = {}

---Runs fn in a transaction on this connection; never repeated.
---@param fn fun(tx: tidepool.transaction): ...
---@param options? tidepool.transaction_options
---@return any ... # what fn returns, or nil and an error
function connection:transaction(fn, options) end

---Runs a command by the simple protocol: its tag.
---@param sql tidepool.sql
---@return string? tag
---@return tidepool.error? err
function connection:control(sql) end

---One round trip.
---@param timeout_ms? number
---@return boolean alive
---@return tidepool.error? err
function connection:ping(timeout_ms) end

---Gives it back.
---@return true? done
---@return tidepool.error? err
function connection:release() end

---Closes it instead of giving it back.
---@return true? done
---@return tidepool.error? err
function connection:discard() end

---Whether it was given back.
---@return boolean
function connection:is_released() end

---The server's process id.
---@return integer? pid
---@return tidepool.error? err
function connection:backend_pid() end

---@return tidepool.transaction_state
function connection:transaction_state() end

-- ---------------------------------------------------------------- databases

---A pool, or a share in one.
---@class tidepool.db: tidepool.executor
local db = {}

---Runs fn in a transaction on a connection of its own.
---@param fn fun(tx: tidepool.transaction): ...
---@param options? tidepool.transaction_options
---@return any ... # what fn returns, or nil and an error
function db:transaction(fn, options) end

---A connection; the default deadline is pool.acquire_timeout_ms.
---@param timeout_ms? number
---@return tidepool.connection? connection
---@return tidepool.error? err
function db:acquire(timeout_ms) end

---Gives a connection back.
---@param conn tidepool.connection
---@return true? done
---@return tidepool.error? err
function db:release(conn) end

---Calls fn with a connection and gives it back afterwards, whatever happens.
---@param fn fun(conn: tidepool.connection): ...
---@param options? number|tidepool.with_options # a number is timeout_ms
---@return any ... # what fn returns, or nil and an error
function db:with(fn, options) end

---Hears of what is sent to these channels from now on; waits until the server listens.
---@param channels string|string[] # as they are, unquoted
---@param options? tidepool.listen_options
---@return tidepool.listener? listener
---@return tidepool.error? err
function db:listen(channels, options) end

---Gives a type a codec of the program's.
---@param definition tidepool.type_definition
---@return true? done
---@return tidepool.error? err
function db:define_type(definition) end

---Calls a function with every event of this name from now on.
---@param name tidepool.event_name
---@param handler fun(event: tidepool.event|tidepool.query_event|tidepool.lease_event|tidepool.repeats_event)
---@return fun() off # ends it
function db:on(name, handler) end

---One round trip.
---@param timeout_ms? number
---@return boolean alive
---@return tidepool.error? err
function db:ping(timeout_ms) end

---Waits until a connection can be had.
---@param timeout_ms? number
---@return true? ready
---@return tidepool.error? err
function db:wait_ready(timeout_ms) end

---@return boolean
function db:is_configured() end

---@return boolean
function db:is_connected() end

---@return tidepool.state
function db:state() end

---One round trip to the server, and what the pool knows of itself. Never fails.
---@param timeout_ms? number # how long it may take; 2000 when not said
---@return tidepool.health
function db:health(timeout_ms) end

---What was counted. An error only where what is shared cannot be had.
---@param options? tidepool.stats_wanted
---@return tidepool.stats? stats
---@return tidepool.error? err
function db:stats(options) end

---The last slow queries that this object has made, the latest first.
---@return tidepool.slow_query[]
function db:slow_queries() end

---The statements that took most time, or most of something else.
---@param options? tidepool.statements_wish
---@return tidepool.statement[]
function db:statements(options) end

---The connections on loan, the oldest first.
---@return tidepool.holder[]
function db:holders() end

---Asks the server which backends wait for locks.
---@return tidepool.blocker[]? list # those that wait the longest first
---@return tidepool.error? err
function db:blockers() end

---How connections are encrypted, and the certificates of both sides.
---@return tidepool.tls
function db:tls() end

---Reads certificates and keys again, and replaces the connections that were made with the old ones.
---@param values? tidepool.tls_values # new ones: paths, PEM or base64 of PEM
---@return true? ok
---@return tidepool.error? err
function db:reload_tls(values) end

---The value of an option as text, "***" for a secret, nil when it is not set. A name that there is not raises an error.
---@param name string
---@return string?
function db:option(name) end

---The name as an SQL identifier.
---@param name string
---@return string? identifier
---@return tidepool.error? err
function db:quote_identifier(name) end

---The text as an SQL string constant.
---@param text string
---@return string? literal
---@return tidepool.error? err
function db:quote_literal(text) end

---For maintenance: nobody is lent a connection until resume, callers wait.
---@param options? tidepool.suspend_options
---@return true? done
---@return tidepool.error? err
function db:suspend(options) end

---Serves those who have waited, in their order.
---@return true? done
---@return tidepool.error? err
function db:resume() end

---Replaces every connection: idle ones at once, borrowed ones when they come back.
---@return true? done
---@return tidepool.error? err
function db:evict_all() end

---Takes no new work, waits for borrowed connections, closes.
---@param timeout_ms? number # 30000 when not said
---@return true? done
---@return tidepool.error? err
function db:drain(timeout_ms) end

---Ends idle connections at once and borrowed ones when they come back.
---@return true
function db:close() end

-- -------------------------------------------------------------------- HTTP

---An index that POST /api/db/maintenance makes.
---@class tidepool.http_index
---@field name string
---@field on string # SQL: "users (email)", "docs using gin (tags)"
---@field unique? boolean
---@field where? string # SQL: a condition

---Of require "tidepool.http".
---@class tidepool.http_options
---@field prefix? string # what the paths begin with: "/ops"
---@field service? string # its name in /health
---@field version? string # its version in /health
---@field token? string # for maintenance, which there is not without it
---@field indexes? tidepool.http_index[] # what createIndexes makes
---@field health_timeout_ms? number # how long the server has to answer; 2000 when not said
---@field maintenance_timeout_ms? number # how long one statement of maintenance may take; an hour when not said
---@field extra? table<string, any>|fun(db: tidepool.db): table<string, any> # more fields for /health

---@class tidepool.http_new_options: tidepool.http_options
---@field db tidepool.db

---@class tidepool.http_request
---@field method string
---@field path string
---@field headers? table<string, string> # by lower-case names
---@field query? string|table<string, string>
---@field body? string
---@field remote_addr? string

---@class tidepool.http_handler
local handler = {}

---Answers a request.
---@param request tidepool.http_request
---@return integer status
---@return table<string, string> headers # by lower-case names
---@return string body
function handler:handle(request) end

---Of require "tidepool.http.serve".run, which runs an nginx in the place of this process, or returns nil and why not.
---@class tidepool.http_serve_options
---@field host? string # the address to listen on; 127.0.0.1 when not said
---@field port? integer # 8080 when not said
---@field workers? integer # how many processes of nginx; 1 when not said
---@field url? string # the database; as the environment says when not said
---@field token? string # for maintenance; TIDEPOOL_HTTP_TOKEN when not said
---@field service? string
---@field version? string
---@field prefix? string
---@field nginx? string # the program; openresty or nginx when not said

---The module tidepool.http.
---@class tidepool.http
local http = {}

---Answers a request.
---@param database tidepool.db
---@param request tidepool.http_request
---@param options? tidepool.http_options
---@return integer status
---@return table<string, string> headers # by lower-case names
---@return string body
function http.handle(database, request, options) end

---A handler with its database and options.
---@param options tidepool.http_new_options
---@return tidepool.http_handler
function http.new(options) end

---Answers the request that nginx runs this code for.
---@param database tidepool.db
---@param options? tidepool.http_options
---@return nil
function http.nginx(database, options) end

return tidepool
