-- Posts files in turn: wrk ... -s post.lua URL -- <content type> <file> <file> ...
-- All requests are made before the clock starts, so that the generator costs the server little.

local requests, turn = {}, 0

function init(arguments)
  local headers = { ["Content-Type"] = arguments[1] }
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
