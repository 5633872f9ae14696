-- wrk: POST each line of the file LOAD in turn, over kept connections. The requests are made once, before the load.
wrk.method = "POST"
wrk.headers["Content-Type"] = "text/plain"

local requests, at = {}, 0

function init(args)
  for body in io.lines(os.getenv("LOAD")) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end
