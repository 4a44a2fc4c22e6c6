// Embeds two texts with the JavaScript client, as base64 (its own choice) and as numbers.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const input = ["London", "Paris"];

async function embedded(options) {
  const answer = await client.embeddings.create({ model: "minilm", input, ...options });
  return answer.data.map((item) => Array.from(item.embedding));
}

console.log(JSON.stringify([await embedded({}), await embedded({ encoding_format: "float" })]));
