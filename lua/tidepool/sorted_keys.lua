--- The keys of a table, all of one type, in their order.
-- @module tidepool.sorted_keys
-- @param values a table
-- @return a list
return function(values)
    local keys = {}
    for key in pairs(values) do
        keys[#keys + 1] = key
    end
    table.sort(keys)
    return keys
end
