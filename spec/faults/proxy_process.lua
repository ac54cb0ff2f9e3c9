--- The process of a fault proxy (see proxy.lua): proxy_process.lua SERVER HOST, where SERVER is the path of a unix
--- socket or "host:port". It prints two ports of HOST, an address of this machine: the first for clients, the second
--- for its one controller, whose lines it answers one by one; it ends with the controller, or when none has come within
--- ten seconds.
--
-- What is sent goes on message by message, so there is no TLS. A link is a client and its connection to the server.
local socket = require "socket"
local unix = require "socket.unix"

local HOST = arg[2]
local CONTROLLER_WITHIN_S, ROOM, PIECE = 10, 1024 * 1024, 65536

-- What befalls the data of all links, by direction: "pass" or "hole" (bytes are swallowed, and no end is told).
local way = { to_server = "pass", to_client = "pass" }
local chunk, pause, delay = nil, 0, 0 -- bytes at once, seconds between two of them, seconds that each byte is late
local truncate                        -- how many more bytes each link passes to its client before it is cut
local trap                            -- { bytes =, before = boolean, reset = boolean }
local caught = 0
local links, listening, port = {}, nil, nil

-- ------------------------------------------------------------------ messages

-- Takes whole messages off the front of link.from_client, the first of which has no type. Returns the next, or nil.
local function next_message(link)
    local data = link.from_client
    local head = link.greeted and 1 or 0
    if #data < head + 4 then
        return nil
    end
    local size = head + string.unpack(">I4", data, head + 1)
    if #data < size then
        return nil
    end
    link.from_client = data:sub(size + 1)
    link.greeted = true
    return data:sub(1, size)
end

-- Whether the message is answered by a ReadyForQuery: a simple query or a Sync.
local function is_question(message)
    return message:find "^[QS]" ~= nil
end

-- ------------------------------------------------------------------- links

local function queue(link, direction, data)
    if #data == 0 then
        return
    end
    local list = link[direction]
    list[#list + 1] = { data = data, at = 1, due = socket.gettime() + delay }
    list.bytes = list.bytes + #data
end

local function drop(link, reset)
    if reset then
        link.client:setoption("linger", { on = true, timeout = 0 })
    end
    link.client:close()
    link.server:close()
    links[link] = nil
    if trap and trap.link == link then
        trap.link = nil
    end
end

local function catch(link)
    caught = caught + 1
    drop(link, trap.reset)
    trap = nil
end

-- The trap waits until what was asked before has been answered.
local function spring_when_due(link)
    if trap and link.trapped and trap.before and link.unanswered == 0 and link.to_client.bytes == 0 then
        catch(link)
    end
end

local function from_client(link, data)
    link.from_client = link.from_client .. data
    while links[link] and not (link.trapped and trap.before) do
        local message = next_message(link)
        if not message then
            return
        end
        local ask = link.asked and is_question(message)
        if link.asked and trap and not trap.link and message:find(trap.bytes, 1, true) then
            trap.link, link.trapped, link.answers_before = link, true, link.unanswered
        end
        link.asked = true
        if not (link.trapped and trap.before) then
            link.unanswered = link.unanswered + (ask and 1 or 0)
            queue(link, "to_server", message)
        end
    end
    spring_when_due(link)
end

-- The server's messages up to the ReadyForQuery that a trapped client is not to hear of.
local function from_server(link, data)
    link.from_server = link.from_server .. data
    local at, passed = 1, 1
    while #link.from_server >= at + 4 do
        local size = 1 + string.unpack(">I4", link.from_server, at + 1)
        if #link.from_server < at + size - 1 then
            break
        end
        local ready = link.from_server:byte(at) == 90 -- 'Z'
        at = at + size
        if ready and link.unanswered > 0 then
            link.unanswered = link.unanswered - 1
        end
        if not link.trapped or trap.before or link.answers_before > 0 then
            passed = at
        elseif ready then
            catch(link)
            return
        end
        if ready and link.trapped and link.answers_before > 0 then
            link.answers_before = link.answers_before - 1
        end
    end
    queue(link, "to_client", link.from_server:sub(1, passed - 1))
    link.from_server = link.from_server:sub(at)
end

local function connect_to_server()
    local host, number = arg[1]:match "^(.*):(%d+)$"
    if host then
        return socket.connect(host, tonumber(number))
    end
    local server = unix()
    return server:connect(arg[1]) and server
end

local function accept()
    local client = listening:accept()
    local server = client and connect_to_server()
    if not server then
        if client then client:close() end
        return
    end
    client:settimeout(0)
    client:setoption("tcp-nodelay", true)
    server:settimeout(0)
    links[{
        client = client, server = server, from_client = "", from_server = "", unanswered = 0, truncate = truncate,
        to_client = { bytes = 0 }, to_server = { bytes = 0 }, next_at = { to_client = 0, to_server = 0 },
    }] = true
end

-- Reads from one side what the other is to get.
local function read(link, from, direction)
    local data, why, partial = link[from]:receive(PIECE)
    data = data or partial
    if way[direction] == "hole" then
        data = ""
    end
    if #data > 0 and direction == "to_server" then
        from_client(link, data)
    elseif #data > 0 then
        from_server(link, data)
    end
    if why == "closed" and links[link] then
        if way[direction] == "hole" then
            link[from .. "_ended"] = true
        else
            link.ending = direction
        end
    end
end

-- Sends what is due, as much at once as it may be. Returns when there will be more, or nil.
local function write(link, direction, now)
    local list, to = link[direction], direction == "to_client" and link.client or link.server
    while list[1] do
        local piece = list[1]
        local at = math.max(piece.due, link.next_at[direction])
        if at > now then
            return at
        end
        if way[direction] == "hole" then
            link[direction] = { bytes = 0 }
            return nil
        end
        local most = math.min(#piece.data - piece.at + 1, chunk or #piece.data)
        if direction == "to_client" and link.truncate then
            most = math.min(most, link.truncate)
        end
        local last, why, partial = to:send(piece.data, piece.at, piece.at + most - 1)
        local sent = (last or partial or piece.at - 1) - piece.at + 1
        list.bytes = list.bytes - sent
        piece.at = piece.at + sent
        if piece.at > #piece.data then
            table.remove(list, 1)
        end
        link.next_at[direction] = now + pause
        if direction == "to_client" and link.truncate then
            link.truncate = link.truncate - sent
            if link.truncate <= 0 then
                return drop(link, false)
            end
        end
        if why == "closed" then
            return drop(link, false)
        elseif why then
            return now + 0.001
        end
    end
    spring_when_due(link)
    if links[link] and link.ending == direction then
        drop(link, false)
    end
end

-- ----------------------------------------------------------------- commands

local function listen()
    listening = listening or assert(socket.bind(HOST, port or 0, 128))
    listening:settimeout(0)
    port = port or tonumber((select(2, listening:getsockname())))
end

local function each_link(fn, ...)
    local all = {}
    for link in pairs(links) do all[#all + 1] = link end
    for _, link in ipairs(all) do fn(link, ...) end
end

local commands = {
    way = function(direction, how) way[direction] = how end,
    pace = function(bytes, pause_ms, delay_ms)
        chunk, pause, delay = tonumber(bytes), tonumber(pause_ms) / 1000, tonumber(delay_ms) / 1000
    end,
    truncate = function(bytes)
        truncate = tonumber(bytes)
        each_link(function(link) link.truncate = truncate end)
    end,
    trap = function(before, reset, hex)
        local bytes = hex:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end)
        trap = { bytes = bytes, before = before == "before", reset = reset == "reset" }
    end,
    caught = function() return caught end,
    cut = function(how) each_link(drop, how == "reset") end,
    refuse = function()
        if listening then listening:close() end
        listening = nil
    end,
    accept = listen,
    quit = function() os.exit(0) end,
    links = function()
        local count = 0
        for _ in pairs(links) do count = count + 1 end
        return count
    end,
}

local function obey(controller)
    local line, why = controller:receive "*l"
    if why == "closed" then
        os.exit(0)
    end
    local words = {}
    for word in (line or ""):gmatch "%S+" do words[#words + 1] = word end
    local answer = commands[words[1]](table.unpack(words, 2))
    controller:send((answer or "done") .. "\n")
end

-- --------------------------------------------------------------------- loop

-- The sockets to wait for, and what is to be done with each.
local function wanted(controller)
    local list, work = { controller }, { [controller] = function() obey(controller) end }
    if listening then
        list[#list + 1] = listening
        work[listening] = accept
    end
    local function want(link, from, direction)
        local ended = link.ending or link[from .. "_ended"]
        if not ended and link[direction].bytes < ROOM and not (link.trapped and trap.before and from == "client") then
            list[#list + 1] = link[from]
            work[link[from]] = function() if links[link] then read(link, from, direction) end end
        end
    end
    for link in pairs(links) do
        want(link, "client", "to_server")
        want(link, "server", "to_client")
    end
    return list, work
end

local function write_all()
    local now, soonest = socket.gettime(), nil
    each_link(function(link)
        for _, direction in ipairs { "to_server", "to_client" } do
            local at = links[link] and write(link, direction, now)
            soonest = at and math.min(at, soonest or at) or soonest
        end
    end)
    return soonest and math.max(0, soonest - now) or nil
end

listen()
local control = assert(socket.bind(HOST, 0))
print(port, (select(2, control:getsockname())))
io.stdout:flush()
control:settimeout(CONTROLLER_WITHIN_S)
local controller = control:accept()
control:close()
if not controller then
    os.exit(1)
end
controller:settimeout(5)
controller:setoption("tcp-nodelay", true)
local due
while true do
    local list, work = wanted(controller)
    local ready = socket.select(list, nil, due)
    for _, one in ipairs(ready) do work[one]() end
    due = write_all()
end
