--- The data of the demo. Countries, subdivisions and languages are those of the package
-- iso-codes: a country organises, a subdivision is a venue, a language is the topic of an
-- event. Users, registrations and payments are drawn by a generator with a fixed seed, so
-- that every run has the same rows.
--
-- A data set is a list of columns per table, as the loader sends them: { count =, id = {...}, email = {...} }.
-- Dates are minutes since the first of January 2025.
local cjson = require "cjson"

local M = {}

local folder = "/usr/share/iso-codes/json/"
local day = 24 * 60
local today = 365 * day -- the first of January 2026, as far as the data are concerned

local counts = { users = 30000, events = 6000, registrations = 70000 }

local first_names = {
    "Ada", "Aisha", "Amara", "Ana", "Anders", "Anil", "Ayumi", "Beatriz", "Boris", "Carlos", "Chen", "Chiara",
    "Daniel", "Diego", "Elena", "Emeka", "Emma", "Farah", "Fatima", "Felix", "Freya", "Gabriel", "Grace", "Hana",
    "Hassan", "Hiro", "Ines", "Ingrid", "Ivan", "Jamal", "Joana", "Jonas", "Julia", "Kemal", "Kofi", "Lars",
    "Leila", "Liam", "Lucia", "Maja", "Malik", "Marta", "Mateo", "Mei", "Milan", "Nadia", "Nina", "Noah", "Olga",
    "Omar", "Paula", "Pedro", "Priya", "Rafael", "Rosa", "Samir", "Sofia", "Tariq", "Tomas", "Uma", "Vera",
    "Viktor", "Wanjiru", "Yara", "Yusuf", "Zoe",
}

local last_names = {
    "Abara", "Almeida", "Andersson", "Bauer", "Bianchi", "Bondar", "Castro", "Chaudhry", "Costa", "Dang", "Dubois",
    "Eriksen", "Farouk", "Fernandez", "Fischer", "Garcia", "Green", "Gupta", "Haddad", "Hansen", "Horvat", "Ibrahim",
    "Ito", "Ivanova", "Jansen", "Johnson", "Kamau", "Kaya", "Kim", "Kowalski", "Kumar", "Larsen", "Lee", "Lopez",
    "Mahlangu", "Marino", "Mendes", "Mensah", "Moreau", "Mori", "Murphy", "Nakamura", "Nguyen", "Novak", "Okafor",
    "Oliveira", "Papadopoulos", "Park", "Petrov", "Popescu", "Rahman", "Ramos", "Rossi", "Sato", "Schmidt", "Sharma",
    "Silva", "Smith", "Tanaka", "Torres", "Usman", "Vargas", "Virtanen", "Wagner", "Walker", "Wang", "Weber", "Yilmaz",
    "Zhang", "Zulu",
}

local titles = {
    "An Evening of %s Poetry", "%s for Beginners", "Songs in %s", "The Grammar of %s", "%s Film Night",
    "Translating %s", "Stories Told in %s", "%s Conversation Circle", "Recording %s", "A Day of %s",
}

local prices = { 0, 500, 750, 1000, 1200, 1500, 2000, 2500, 3000, 4500, 6000, 9900 } -- cents
local methods = { "card", "card", "card", "card", "transfer", "transfer", "wallet", "wallet", "wallet", "cash" }

-- -------------------------------------------------------------- generator

local Generator = { __name = "demo.generator" }
Generator.__index = Generator

--- A generator of numbers (splitmix64), apart from math.random so that nothing disturbs it.
function M.generator(seed)
    return setmetatable({ state = seed }, Generator)
end

--- An integer from 1 to n.
function Generator:below(n)
    self.state = self.state + 0x9E3779B97F4A7C15
    local z = self.state
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return ((z ~ (z >> 31)) >> 1) % n + 1
end

function Generator:pick(list)
    return list[self:below(#list)]
end

function Generator:chance(percent)
    return self:below(100) <= percent
end

-- -------------------------------------------------------------- iso-codes

local function read_list(name)
    local file = io.open(folder .. "iso_" .. name .. ".json", "rb")
    if not file then
        error(("%siso_%s.json is missing: install the package iso-codes"):format(folder, name), 0)
    end
    local text = file:read("a")
    file:close()
    return cjson.decode(text)[name]
end

local function without_brackets(name)
    return (name:gsub("%s*[%[%(].*$", ""):gsub(";.*$", ""))
end

local function living_languages()
    local list = {}
    for _, language in ipairs(read_list("639-3")) do
        if language.type == "L" and language.scope == "I" then
            list[#list + 1] = { code = language.alpha_3, name = without_brackets(language.name) }
        end
    end
    return list
end

--- What iso-codes knows.
-- @return {countries = {{code =, name =}}, venues = {{country =, name =}}, languages = {{code =, name =}}}
function M.read()
    local world = { countries = {}, venues = {}, languages = living_languages() }
    for i, country in ipairs(read_list("3166-1")) do
        local name = country.common_name or country.name:gsub(",.*$", "")
        world.countries[i] = { code = country.alpha_2, name = name }
    end
    for i, subdivision in ipairs(read_list("3166-2")) do
        world.venues[i] = { country = subdivision.code:sub(1, 2), name = without_brackets(subdivision.name) }
    end
    return world
end

-- ------------------------------------------------------------------ tables

local function new_table(...)
    local columns = { count = 0 }
    for _, name in ipairs { ... } do
        columns[name] = {}
    end
    return columns
end

local function add(columns, row)
    local n = columns.count + 1
    columns.count = n
    for name, value in pairs(row) do
        columns[name][n] = value
    end
    return n
end

local function make_organisers(world)
    local organisers = new_table("id", "email", "name", "country")
    for i, country in ipairs(world.countries) do
        add(organisers, {
            id = i, country = country.code, name = "Culture Office of " .. country.name,
            email = ("culture@%s.example"):format(country.code:lower()),
        })
    end
    return organisers
end

local function make_users(world, random)
    local users = new_table("id", "email", "name", "country", "language", "created")
    for i = 1, counts.users do
        local first, last = random:pick(first_names), random:pick(last_names)
        local country = random:pick(world.venues).country
        add(users, {
            id = i, name = first .. " " .. last, country = country,
            email = ("%s.%s%d@%s.example"):format(first:lower(), last:lower(), i, country:lower()),
            language = random:chance(90) and random:pick(world.languages).code or cjson.null,
            created = -random:below(3 * 365 * day),
        })
    end
    return users
end

local function status_of(date, random)
    if random:chance(4) then
        return "cancelled"
    elseif date < today then
        return "completed"
    end
    return random:chance(15) and "draft" or "published"
end

local function make_events(world, random)
    local events = new_table("id", "title", "language", "organizer", "venue", "country", "date", "deadline", "cents",
        "capacity", "status")
    local organiser_of = {}
    for i, country in ipairs(world.countries) do
        organiser_of[country.code] = i
    end
    for i = 1, counts.events do
        local venue, language = world.venues[(i - 1) % #world.venues + 1], random:pick(world.languages)
        local date = (9 + random:below(450)) * day + (9 + random:below(12)) * 60
        add(events, {
            id = i, title = random:pick(titles):format(language.name), language = language.code,
            organizer = organiser_of[venue.country], venue = venue.name, country = venue.country,
            date = date, deadline = date - random:below(14) * day, cents = random:pick(prices),
            capacity = 10 * (random:below(6) + (random:chance(10) and 20 or 0)), status = status_of(date, random),
        })
    end
    return events
end

-- The events that people may have registered for, each as often as it has places to be
-- had in the long run: large events come up more often.
local function open_events(events)
    local list = {}
    for i = 1, events.count do
        if events.status[i] ~= "draft" then
            for _ = 1, events.capacity[i] // 10 do
                list[#list + 1] = i
            end
        end
    end
    return list
end

local function payment_status_of(event, events, random)
    if events.status[event] == "cancelled" then
        return "refunded"
    elseif events.cents[event] == 0 or random:chance(88) then
        return "completed"
    end
    return random:chance(60) and "failed" or "pending"
end

local function make_registrations(events, random)
    local registrations = new_table("id", "user", "event", "status", "date")
    local open, taken, seen = open_events(events), {}, {}
    while registrations.count < counts.registrations do
        local user, event = random:below(counts.users), random:pick(open)
        local pair = user * counts.events + event
        if not seen[pair] and (taken[event] or 0) < events.capacity[event] then
            seen[pair] = true
            taken[event] = (taken[event] or 0) + 1
            local latest = math.min(events.deadline[event], today)
            local earliest = events.date[event] - 120 * day
            add(registrations, {
                id = registrations.count + 1, user = user, event = event,
                status = payment_status_of(event, events, random), date = earliest + random:below(latest - earliest),
            })
        end
    end
    return registrations
end

-- What a registration leaves in the books: attempts that failed, then how it ended.
local function payments_of(status, random)
    local entries = {}
    if status == "failed" or (status == "completed" and random:chance(8)) then
        entries[1] = "failed"
    end
    if status == "completed" or status == "refunded" then
        entries[#entries + 1] = "completed"
    end
    if status == "refunded" then
        entries[#entries + 1] = "refunded"
    end
    return entries
end

local function make_payments(events, registrations, random)
    local payments = new_table("id", "registration", "reference", "method", "cents", "status", "date")
    for i = 1, registrations.count do
        local cents, method = events.cents[registrations.event[i]], random:pick(methods)
        local date = registrations.date[i]
        local entries = cents > 0 and payments_of(registrations.status[i], random) or {}
        for _, status in ipairs(entries) do
            date = date + random:below(3 * 60)
            local id = payments.count + 1
            add(payments, {
                id = id, registration = i, reference = ("TP-%06d-%04X"):format(id, random:below(65536) - 1),
                method = method, cents = cents, status = status, date = date,
            })
        end
    end
    return payments
end

--- All tables, the same in every run.
function M.generate(world)
    local random = M.generator(20250101)
    local data = { organisers = make_organisers(world), users = make_users(world, random) }
    data.events = make_events(world, random)
    data.registrations = make_registrations(data.events, random)
    data.payments = make_payments(data.events, data.registrations, random)
    return data
end

return M
