--- Certificate authorities and certificates for the specs, made with openssl in a folder that is removed at the end.
local server = require "spec.support.server"

local M = {}

-- Runs in the folder. `issue NAME CA START END EXTENSIONS` makes NAME.key and NAME.crt.
local SCRIPT = [==[
set -eu
cd "$1"
umask 077
authority() {
    mkdir "$1"
    : >"$1/index"
    echo 1000 >"$1/serial"
    echo 01 >"$1/crlnumber"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=$2" \
        -addext keyUsage=critical,keyCertSign,cRLSign -keyout "$1.key" -out "$1.crt"
    cat >"$1/conf" <<CONF
[ca]
default_ca = this
[this]
database = $1/index
serial = $1/serial
crlnumber = $1/crlnumber
new_certs_dir = $1
certificate = $1.crt
private_key = $1.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
[any]
commonName = supplied
CONF
}
request() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
}
issue() {
    request "$1" "$6"
    printf '%b' "$5" >"$1.ext"
    openssl ca -batch -notext -config "$2/conf" -startdate "$3" -enddate "$4" -extfile "$1.ext" \
        -in "$1.csr" -out "$1.crt"
}
now=$(date -u -d '1 day ago' +%Y%m%d%H%M%SZ)
later=$(date -u -d '400 days' +%Y%m%d%H%M%SZ)
soon=$(date -u -d '10 days 1 hour' +%Y%m%d%H%M%SZ)
here='subjectAltName=DNS:localhost,DNS:db.example\n'
client='extendedKeyUsage=clientAuth\n'
authority ca 'Test authority'
authority other 'Other authority'
issue good ca "$now" "$later" "$here" localhost
issue wrong_host ca "$now" "$later" 'subjectAltName=DNS:elsewhere.example\n' elsewhere.example
issue expired ca 20200101000000Z 20210101000000Z "$here" localhost
issue early ca "$later" 20450101000000Z "$here" localhost
issue revoked ca "$now" "$later" "$here" localhost
issue wrong_ca other "$now" "$later" "$here" localhost
issue ending ca "$now" "$soon" "$here" localhost
issue client ca "$now" "$later" "$client" tidepool
issue client_ending ca "$now" "$soon" "$client" tidepool
issue client_expired ca 20200101000000Z 20210101000000Z "$client" tidepool
issue client_other other "$now" "$later" "$client" tidepool
issue server_only ca "$now" "$later" 'extendedKeyUsage=serverAuth\n' tidepool
issue middle ca "$now" "$later" 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n' Middle
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout self_signed.key -out self_signed.crt
openssl ca -config ca/conf -revoke revoked.crt
openssl ca -config ca/conf -gencrl -out ca.crl
openssl ca -config ca/conf -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z -out expired.crl
openssl ca -config other/conf -gencrl -out other.crl
]==]

local function quote(word)
    return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

--- Makes them all. Returns the folder, or nil and what openssl said.
function M.make()
    if select(2, server.sh "command -v openssl") ~= 0 then
        return nil, "there is no openssl to make certificates with"
    end
    local folder = server.sh("mktemp -d"):gsub("%s+$", "")
    local output, code = server.sh(("sh -c %s pki %s"):format(quote(SCRIPT), quote(folder)))
    if code ~= 0 then
        M.remove(folder)
        return nil, output
    end
    return folder
end

function M.remove(folder)
    server.sh("rm -rf " .. quote(folder))
end

--- What a file has.
function M.read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
end

--- Puts a text in a file's place in one step, as tools that rotate certificates do; its mode is 0600.
function M.write(path, text)
    local file = assert(io.open(path .. ".new", "wb"))
    file:write(text)
    file:close()
    assert(select(2, server.sh(("chmod 600 %s.new && mv %s.new %s"):format(path, path, path))) == 0)
end

--- Base64 of a text, in one line.
function M.base64(text)
    local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    local out = {}
    for i = 1, #text, 3 do
        local a, b, c = text:byte(i, i + 2)
        local bits = a * 65536 + (b or 0) * 256 + (c or 0)
        for j = 3, 0, -1 do
            local digit = math.floor(bits / 64 ^ j) % 64 + 1
            local there = j >= 2 or (j == 1 and b) or (j == 0 and c)
            out[#out + 1] = there and digits:sub(digit, digit) or "="
        end
    end
    return table.concat(out)
end

return M
