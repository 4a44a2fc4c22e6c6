// The helpers of the JavaScript client that do more than send one request: streams that accumulate,
// parsed answers, tools that are run, and the Responses API. Prints what came back as one JSON
// object, which tests/live/test_openai_node.py checks.
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = "tgi";
const capital = [{ role: "user", content: "What is the capital of France?" }];
const weather = [{ role: "user", content: "What is the weather in Paris?" }];
const Sum = z.object({ result: z.number().int().min(0).max(99) });
const asked = [];
const getWeather = zodFunction({
  name: "get_weather",
  description: "Get the weather of a city.",
  parameters: z.object({ city: z.string() }),
  function: ({ city }) => {
    asked.push(city);
    return "sunny, 21 degrees";
  },
});

async function streamed() {
  let text = "";
  const stream = client.chat.completions.stream({ model, messages: capital });
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  return [text, final.choices[0].message.content];
}

async function parsed() {
  const answer = await client.chat.completions.parse({
    model,
    messages: [{ role: "user", content: "What is 2 plus 2?" }],
    response_format: zodResponseFormat(Sum, "sum"),
  });
  return answer.choices[0].message.parsed;
}

async function ran(stream) {
  const runner = client.chat.completions.runTools({ model, messages: weather, tools: [getWeather], stream });
  return await runner.finalContent();
}

async function responses() {
  const whole = await client.responses.create({ model, input: capital });
  const stream = client.responses.stream({ model, input: capital });
  const types = [];
  for await (const event of stream) types.push(event.type);
  const final = await stream.finalResponse();
  const form = { format: zodTextFormat(Sum, "sum") };
  const sum = await client.responses.parse({ model, input: "What is 2 plus 2?", text: form });
  return { whole: whole.output_text, streamed: final.output_text, types, parsed: sum.output_parsed };
}

console.log(
  JSON.stringify({
    streamed: await streamed(),
    parsed: await parsed(),
    ran: await ran(false),
    ran_streamed: await ran(true),
    asked,
    responses: await responses(),
  }),
);
