-- The fake upstream's answers. The model's name says which: bench/json one answer of about 900 bytes, bench/stream
-- an event every 5 to 15 ms, bench/hold an event every second. Each event holds exactly one "~", so that a client
-- can count events however they were cut on the way.
local upstream = {}

local answers = 0

local function new_id()
    answers = answers + 1
    return string.format("gen-%d-%020d", ngx.time(), answers)
end

local usage = '"usage":{"prompt_tokens":112,"completion_tokens":64,"total_tokens":176,"cost":0.0000421,"is_byok":false,'
    .. '"prompt_tokens_details":{"cached_tokens":0},"cost_details":{"upstream_inference_cost":null,'
    .. '"upstream_inference_prompt_cost":0.0000112,"upstream_inference_completions_cost":0.0000309},'
    .. '"completion_tokens_details":{"reasoning_tokens":0,"image_tokens":0}}'

local text = "A proxy's cost is what remains when the upstream is fast: parsing twice, deciding once, copying as little "
    .. "as possible and writing one line about it. Measured beside nginx in the same run, the ratio says more than "
    .. "the number, because the machine's mood is in both of them."

local json_tail = '","provider":"Bench","model":"bench/json","object":"chat.completion","created":1790000000,'
    .. '"choices":[{"logprobs":null,"finish_reason":"stop","native_finish_reason":"stop","index":0,'
    .. '"message":{"role":"assistant","content":"' .. text .. '","refusal":null,"reasoning":null}}],' .. usage .. "}"

local event_tail = '","provider":"Bench","model":"bench/stream","object":"chat.completion.chunk","created":1790000000,'
    .. '"choices":[{"index":0,"delta":{"role":"assistant","content":"~"},"finish_reason":null,'
    .. '"native_finish_reason":null,"logprobs":null}]}\n\n'

local last_event_tail = '","provider":"Bench","model":"bench/stream","object":"chat.completion.chunk",'
    .. '"created":1790000000,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop",'
    .. '"native_finish_reason":"stop","logprobs":null}],' .. usage .. "}\n\ndata: [DONE]\n\n"

local key = '{"data":{"label":"sk-or-v1-ben...nch","limit":null,"limit_remaining":null,"limit_reset":null,'
    .. '"include_byok_in_limit":false,"usage":0,"usage_daily":0,"usage_weekly":0,"usage_monthly":0,"byok_usage":0,'
    .. '"byok_usage_daily":0,"byok_usage_weekly":0,"byok_usage_monthly":0,"is_free_tier":false,'
    .. '"is_management_key":false,"is_provisioning_key":false,"expires_at":null,"creator_user_id":"user_'

local key_tail = '","organization_id":null,"rate_limit":{"requests":-1,"interval":"10s","note":"deprecated"}}}'

local function begin(id)
    local headers = ngx.header
    headers["X-Generation-Id"] = id
    headers["Access-Control-Allow-Origin"] = "*"
    headers["Vary"] = "Accept-Encoding"
    headers["Cf-Ray"] = "9a0000000000bench-FRA"
end

local function stream(id, events, pause)
    begin(id)
    ngx.header["Content-Type"] = "text/event-stream"
    ngx.header["Cache-Control"] = "no-cache"
    -- nginx, the yardstick, would gather events otherwise; it eats this field and does not pass it on.
    ngx.header["X-Accel-Buffering"] = "no"
    local event = 'data: {"id":"' .. id .. event_tail
    for _ = 1, events do
        ngx.print(event)
        if not ngx.flush(true) then return end
        ngx.sleep(pause())
    end
    ngx.print('data: {"id":"' .. id .. last_event_tail)
end

local function quick() return 0.005 + math.random() * 0.010 end

local function slow() return 0.9 + math.random() * 0.2 end

function upstream.chat()
    ngx.req.read_body()
    local body = ngx.req.get_body_data() or ""
    local id = new_id()
    if string.find(body, '"model":"bench/stream"', 1, true) then return stream(id, 6000, quick) end
    if string.find(body, '"model":"bench/hold"', 1, true) then return stream(id, 60, slow) end
    begin(id)
    ngx.print('{"id":"', id, json_tail)
end

function upstream.key()
    -- Keys that begin alike belong to one account.
    local account = string.match(ngx.var.http_authorization or "", "sk%-or%-v1%-(%x%x%x%x%x%x%x%x)")
    ngx.print(key, account or "bench", key_tail)
end

return upstream
