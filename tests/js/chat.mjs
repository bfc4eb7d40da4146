// The official OpenAI SDK for JavaScript against BASE_URL with API_KEY; prints what it saw as one JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const model = process.env.MODEL;
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const ask = (content) => [{ role: "user", content }];

async function streamed(content, more = {}) {
  const stream = await client.chat.completions.create({
    model,
    messages: ask(content),
    stream: true,
    stream_options: { include_usage: true },
    ...more,
  });
  const seen = { text: "", toolArguments: "", chunks: 0, usage: null };
  for await (const chunk of stream) {
    seen.chunks += 1;
    const delta = chunk.choices[0]?.delta;
    seen.text += delta?.content ?? "";
    seen.toolArguments += delta?.tool_calls?.[0]?.function?.arguments ?? "";
    seen.usage = chunk.usage ?? seen.usage;
  }
  return seen;
}

async function failed(work) {
  try {
    await work();
    return null;
  } catch (error) {
    return { name: error.constructor.name, status: error.status ?? null };
  }
}

const whole = await client.chat.completions.create({ model, messages: ask("Tell me something") });
const tool = await client.chat.completions.create({ model, messages: ask("What is the weather in Paris?"), tools });
const stranger = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong", maxRetries: 0 });
const response = await client.responses.create({ model, input: "Tell me something" });

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    streamed: await streamed("Tell me something"),
    tool: tool.choices[0].message.tool_calls[0].function,
    toolStreamed: await streamed("What is the weather in Paris?", { tools }),
    response: response.output_text,
    models: (await client.models.list()).data.length,
    wrongKey: await failed(() => stranger.chat.completions.create({ model, messages: ask("Hi") })),
    noModel: await failed(() => client.chat.completions.create({ model: "sim/404-model", messages: ask("Hi") })),
    cutStream: await failed(() => streamed("Hi", { model: "sim/stream-cut" })),
  }),
);
