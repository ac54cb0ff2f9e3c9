std = "lua54"
max_line_length = 120
-- What runs on every Lua has only what every Lua has.
files["lua/**/*.lua"] = { std = "min" }
files["lua/bin/tidepool"] = { std = "min" }
files["lua/tidepool/compat.lua"] = { std = "max" }
files["lua/tidepool/await/*.lua"] = { std = "min", read_globals = { "ngx" } }
files["lua/tidepool/http/nginx.lua"] = { std = "min", globals = { "ngx" } }
files["lua/tidepool/http/serve.lua"] = { std = "min", read_globals = { "ngx" } }
files["spec/support/portable.lua"] = { std = "max" }
files["spec/**/*_spec.lua"] = { std = "min+busted" }
local only_5_4 = {
    "bench", "close_scope", "faults/*", "instructions", "openresty_*", "readme", "rockspec", "types_random",
}
for _, name in ipairs(only_5_4) do
    files["spec/" .. name .. "_spec.lua"] = { std = "lua54+busted" }
end
files["spec/helper.lua"] = { std = "+busted" }
files["rockspec/*.rockspec"] = { std = "+rockspec" }
include_files = {
    "lua/**/*.lua", "lua/bin/tidepool", "spec/**/*.lua", "examples/**/*.lua", "rockspec/*.rockspec", ".luacheckrc",
}
files[".luacheckrc"] = { std = "+luacheckrc" }
