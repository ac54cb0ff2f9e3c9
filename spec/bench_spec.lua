--- The arithmetic of `make bench`: what is read from contestants, medians, and ratios round by round.
-- Only Lua 5.4: make bench is written for that one.
local figures = require "spec.bench.figures"

local function entry(key, workload, base, rounds)
    return { contestant = { key = key }, workload = workload, base = base, rounds = rounds }
end

local function round(operations, seconds, cpu)
    return { operations = operations, seconds = seconds, cpu = cpu }
end

describe("figures of the benchmark", function()
    it("reads an answer as numbers by name", function()
        assert.same({ operations = 2000, seconds = 0.5, kb = -3 },
            figures.parse "ok\toperations=2000\tseconds=0.5\tkb=-3")
    end)

    it("takes the reason of an answer without figures", function()
        local answer, why = figures.parse "failed\tno such table"
        assert.is_nil(answer)
        assert.equal("no such table", why)
        assert.equal("unreadable: nonsense", select(2, figures.parse "nonsense"))
    end)

    it("finds the median without changing the list", function()
        local values = { 9, 1, 5 }
        assert.equal(5, figures.median(values))
        assert.same({ 9, 1, 5 }, values)
        assert.equal(3, figures.median { 4, 1, 2, 100 })
        assert.is_nil(figures.median {})
    end)

    it("compares each round with the same round of the base, not medians with medians", function()
        local base = { "libpq", "W1" }
        local theirs = entry("libpq", "W1", base, { round(100, 1, 1), round(100, 2, 1), round(100, 4, 1) })
        local ours = entry("tidepool", "W1", base, { round(100, 2, 3), round(100, 2, 1), round(100, 1, 2) })
        figures.compare { theirs, ours }
        assert.equal(1, theirs.ratio)
        assert.equal(1, ours.ratio) -- of 0.5, 1 and 4
        assert.equal(2, ours.cpu_ratio)
        assert.equal(50, ours.per_second)
        assert.equal(20000, ours.cpu_us)
    end)

    it("gives no ratio without a base, and no CPU time to those that tell none", function()
        local alone = entry("pgbench", "W5", { "libpq", "W5" }, { round(100, 2) })
        figures.compare { alone }
        assert.equal(50, alone.per_second)
        assert.is_nil(alone.ratio)
        assert.is_nil(alone.cpu_us)
    end)

    it("knows the peak of this process and of none that has ended", function()
        local file <close> = assert(io.open "/proc/self/stat")
        assert.is_true(figures.peak_kb(file:read "n") > 1000)
        assert.is_nil(figures.peak_kb(2 ^ 22 + 1 | 0))
    end)
end)
