std = "lua54"
max_line_length = 120
files["spec/**/*_spec.lua"] = { std = "+busted" }
files["spec/helper.lua"] = { std = "+busted" }
files["rockspec/*.rockspec"] = { std = "+rockspec" }
include_files = { "lua/**/*.lua", "spec/**/*.lua", "examples/**/*.lua", "rockspec/*.rockspec", ".luacheckrc" }
files[".luacheckrc"] = { std = "+luacheckrc" }
