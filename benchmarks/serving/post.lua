-- Posts files in turn: wrk ... -s post.lua URL -- <headers, one in each line> <file> <file> ...
-- Requests are formatted before the load starts, so that the load generator takes little CPU time from the server.

local requests, turn = {}, 0
local threads = 0

-- Each wrk thread loads one server. Their ports come from the variable PORTS, because arguments are passed later.
function setup(thread)
  threads = threads + 1
  local ports = {}
  for port in os.getenv("PORTS"):gmatch("%d+") do
    ports[#ports + 1] = port
  end
  thread.addr = wrk.lookup("127.0.0.1", ports[threads])[1]
end

function init(arguments)
  local headers = {}
  for name, value in arguments[1]:gmatch("([^:\n]+): ([^\n]*)") do
    headers[name] = value
  end
  for number = 2, #arguments do
    local file = assert(io.open(arguments[number], "rb"))
    requests[number - 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
