// Talks to a live server (its base URL is the argument) as a JavaScript user would, and prints what
// came back as one JSON object, which tests/live/test_openai_node.py checks.
import OpenAI, { APIError } from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const model = "tiny-chat";
const messages = [{ role: "user", content: "What is the capital of France?" }];

async function streamed() {
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return text;
}

async function models() {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  return ids;
}

async function error() {
  try {
    await client.chat.completions.create({ model: "gpt-nothing", messages });
  } catch (caught) {
    if (!(caught instanceof APIError)) throw caught;
    return { name: caught.constructor.name, status: caught.status, code: caught.code, param: caught.param };
  }
}

async function cancelled() {
  const endless = { model, messages, stream: true, max_tokens: 1500, ignore_eos: true };
  const stream = await client.chat.completions.create(endless);
  let chunks = 0;
  for await (const _ of stream) {
    if (++chunks === 3) stream.controller.abort();
  }
  return chunks;
}

const chat = await client.chat.completions.create({ model, messages });
const completion = await client.completions.create({
  model,
  prompt: "The capital of France is",
  max_tokens: 4,
});
console.log(
  JSON.stringify({
    chat: chat.choices[0].message.content,
    streamed: await streamed(),
    completion: completion.choices[0].text,
    models: await models(),
    error: await error(),
    cancelled_after: await cancelled(),
  }),
);
