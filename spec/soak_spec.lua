--- The judge of the soak (make soak) sees every kind of broken promise.
-- Only Lua 5.4: the soak's main program is for it alone.
local judge = require "spec.soak.judge"
local ledger = require "spec.soak.ledger"
local server = require "spec.support.server"

local function write(text)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
end

-- The names of the promises that are broken, with their counts.
local function broken(results)
    local names = {}
    for _, result in ipairs(results) do
        if result.count > 0 then names[result.name] = result.count end
    end
    return names
end

describe("the ledger of a soak", function()
    local path
    before_each(function()
        server.psql "create schema soak_spec"
        server.psql("alter role " .. server.user .. " set search_path = soak_spec, public")
        ledger.create()
    end)
    after_each(function()
        os.remove(path)
        server.psql("alter role " .. server.user .. " reset search_path")
        server.psql "drop schema soak_spec cascade"
    end)

    -- The operations that are there, each of an amount of 5 from account 1 to account 2; the book; what moved it has.
    local function reconcile(operations, book, balance)
        for _, id in ipairs(operations) do
            server.psql(("insert into operation values (%d, 1, 2, 5)"):format(id))
        end
        server.psql(("update account set balance = case id when 1 then - %d else %d end where id in (1, 2)")
            :format(balance, balance))
        path = write(book)
        return ledger.reconcile { path }
    end

    it("is right when what was acknowledged is there, and unknown ones are or are not", function()
        local results, figures = reconcile({ 1, 3 },
            "1\tdone\ta\t\n2\tundone\ta\tdatabase\n3\tunknown\ta\t\n4\tunknown\tb\t\n", 10)
        assert.same({}, broken(results))
        assert.matches("^a +1 +1 +1 +1$", figures[2])
        assert.matches("^b +0 +0 +1 +0$", figures[3])
    end)

    it("shows what is lost, there twice, there though undone, and there though nobody was told", function()
        local results = reconcile({ 2, 2, 3, 4 }, "1\tdone\ta\t\n2\tdone\ta\t\n3\tundone\ta\tdatabase 23505\n", 20)
        assert.same({
            ["acknowledged operations lost"] = 1, ["operations there twice"] = 1,
            ["operations there that were said to be undone"] = 1, ["operations there that nobody was told of"] = 1,
        }, broken(results))
        for _, result in ipairs(results) do
            if result.name == "operations there that were said to be undone" then
                assert.equal("3 undone a database 23505", result.examples)
            end
        end
    end)

    it("shows balances that are not the sum, and a book that says two things", function()
        local results = reconcile({ 1 }, "1\tdone\ta\t\n1\tunknown\ta\t\n", 6)
        assert.same({
            ["operations told of twice"] = 1, ["accounts whose balance is not the sum of the operations"] = 2,
        }, broken(results))
    end)
end)

describe("the judge of a soak", function()
    local paths = {}
    after_each(function()
        while #paths > 0 do os.remove(table.remove(paths)) end
    end)

    local function file(text)
        paths[#paths + 1] = write(text)
        return paths[#paths]
    end

    -- A worker of ten seconds that has done well, and what else it has noted; and a server that was there again after
    -- two seconds.
    local function judged(more, from)
        local began = from or server.now() - 10000
        local memory = {}
        for i = 0, 99 do
            memory[#memory + 1] = ("memory %.1f 500 20000 30\n"):format(began + i * 100)
        end
        local function at(ms) return ("%.1f"):format(began + ms) end
        local notes = judge.read(file(("pid 1\nbegin %s\n%s%scalls 100 90\nlast %s\nend\n")
            :format(at(0), table.concat(memory), "descriptors 9 9\n" .. more(at), at(9900))))
        local wall = require("socket").gettime() - (server.now() - began) / 1000 + 2
        local log = file(("%s.%03d UTC [1] LOG:  database system is ready to accept connections\n")
            :format(os.date("!%Y-%m-%d %H:%M:%S", math.floor(wall)), math.floor(wall % 1 * 1000)))
        return judge.judge({ { name = "one", noted = notes } }, log, 1)
    end

    local function quick(at)
        return ("full %s 0\nfull %s 1\ngap %s %s\n"):format(at(1500), at(2700), at(1500), at(2300))
    end

    it("is content with one who has done well", function()
        local results, lines = judged(quick)
        assert.same({}, broken(results))
        local text = table.concat(lines, "\n")
        assert.matches("until the first success +1 times: p50 30%d ms", text)
        assert.matches("until the full size +1 times: p50 70%d ms", text)
    end)

    it("sees one who is late, slow to come back, or does not come back to its size", function()
        local results = judged(function(at)
            return ("full %s 1\nfull %s 0\ngap %s %s\ntook 2200.0 1200.0 point_read timeout\n")
                :format(at(0), at(1500), at(1500), at(3200))
        end)
        assert.same({
            ["calls later than 1000 ms past their deadline"] = 1,
            ["first success after a restart later than 1000 ms (p99)"] = 1,
            ["full size after a restart later than 5000 ms"] = 1,
        }, broken(results))
    end)

    it("sees wrong replies, innocent victims, leaks and growth", function()
        local results = judged(function(at)
            local memory = {}
            for i = 1, 50 do
                memory[i] = ("memory %s 900 40000 90\n"):format(at(9900 + i))
            end
            return quick(at) .. table.concat(memory) .. "wrong point read\nvictim each canceled\nstrange thing\n"
                .. "descriptors 9 12\n"
        end)
        assert.same({
            ["workers with more descriptors than at the beginning"] = 1,
            ["replies that belonged to another question"] = 1, ["statements cancelled that nobody had cancelled"] = 1,
            ["other things that must not be"] = 1,
            ["workers whose memory of Lua grew (kB) by more than 5 % and 256"] = 1,
            ["workers whose resident memory grew (kB) by more than 10 % and 4096"] = 1,
            ["workers whose entries of the Lua registry grew by more than 0 % and 32"] = 1,
        }, broken(results))
    end)
end)
