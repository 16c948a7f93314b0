// The official OpenAI SDK for Node.js against a gateway: argument 1 is its base URL, argument 2 its token, argument 3 the folder that has
// the packages. Prints one line for each thing that works.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [baseURL, apiKey, packages] = process.argv.slice(2);
const entry = createRequire(`${packages}/package.json`).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(entry));
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
const PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const weather = { name: "weather", description: "Tells the weather.", parameters: { type: "object", properties: { city: { type: "string" } } } };
const messages = (content) => [{ role: "user", content }];
const ask = (content, more = {}, options = {}) => client.chat.completions.create({ model: "verso", messages: messages(content), ...more }, options);

const works = {
  async chat() {
    const answer = await ask("hi [[tokens=3]]");
    assert.equal(answer.choices[0].message.content, "word0 word1 word2");
    assert.equal(answer._request_id, answer.id);
  },
  async streaming() {
    let text = "";
    let usage;
    for await (const chunk of await ask("hi [[tokens=3 gap=5]]", { stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, "word0 word1 word2");
    assert.equal(usage.total_tokens, 13);
    const final = await client.chat.completions.stream({ model: "verso", messages: messages("hi [[tokens=2]]") }).finalContent();
    assert.equal(final, "word0 word1");
  },
  async tools() {
    const tools = [{ type: "function", function: weather }];
    const first = await ask("weather? [[tool=weather tokens=2]]", { tools });
    const [call] = first.choices[0].message.tool_calls;
    assert.deepEqual([first.choices[0].finish_reason, call.function.arguments], ["tool_calls", '{"city":"Ulm"}']);
    const conversation = [...messages("weather? [[tool=weather tokens=2]]"), first.choices[0].message, { role: "tool", tool_call_id: call.id, content: "rain" }];
    const second = await client.chat.completions.create({ model: "verso", messages: conversation, tools });
    assert.equal(second.choices[0].finish_reason, "stop");
    const runner = client.chat.completions.runTools({
      model: "verso", messages: messages("weather? [[tool=weather tokens=2]]"),
      tools: [{ type: "function", function: { ...weather, function: () => "rain", parse: JSON.parse } }],
    });
    assert.ok(await runner.finalContent());
  },
  async images() {
    const content = [{ type: "text", text: "what is this? [[tokens=2]]" }, { type: "image_url", image_url: { url: PIXEL } }];
    assert.equal((await ask(content)).choices[0].message.content, "word0 word1");
    content[1].image_url.url = "data:image/png;base64,AAAA";
    await assert.rejects(ask(content), OpenAI.BadRequestError);
  },
  async responses() {
    const answer = await client.responses.create({ model: "verso", input: "hi [[tokens=3]]" });
    assert.equal(answer.output_text, "word0 word1 word2");
    const kinds = [];
    let number = 0;
    for await (const event of await client.responses.create({ model: "verso", input: "hi [[tokens=2]]", stream: true })) {
      kinds.push(event.type);
      assert.equal(event.sequence_number, number++);
    }
    assert.equal(kinds.at(0), "response.created");
    assert.equal(kinds.at(-1), "response.completed");
    const tools = [{ type: "function", strict: false, ...weather }];
    const called = await client.responses.create({ model: "verso", input: "weather? [[tool=weather tokens=1]]", tools });
    const call = called.output.find((item) => item.type === "function_call");
    const input = [{ type: "function_call_output", call_id: call.call_id, output: "rain" }];
    assert.ok((await client.responses.create({ model: "verso", input, previous_response_id: called.id, tools })).output_text);
    await assert.rejects(client.responses.create({ model: "verso", input: "x [[status=429]]" }), OpenAI.RateLimitError);
  },
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names.slice(0, 2), ["openclaw", "openclaw/default"]);
    assert.equal((await client.models.retrieve("openclaw/main")).id, "openclaw/main");
  },
  async embeddings() {
    const { data } = await client.embeddings.create({ model: "verso", input: ["a", "bcd"], dimensions: 3 });
    assert.deepEqual(data.map((row) => Array.from(row.embedding)), [[1, 1, 1], [3, 3, 3]]);
  },
  async errors() {
    await assert.rejects(client.withOptions({ apiKey: "wrong" }).models.list(), OpenAI.AuthenticationError);
    await assert.rejects(ask("x", { top_p: 2 }), OpenAI.BadRequestError);
    await assert.rejects(client.models.retrieve("openclaw/nobody"), OpenAI.NotFoundError);
    await assert.rejects(ask("x [[status=503]]"), OpenAI.InternalServerError);
  },
  async timeouts() {
    await assert.rejects(ask("[[hang]]", {}, { timeout: 500 }), OpenAI.APIConnectionTimeoutError);
  },
  async aborts() {
    const controller = new AbortController();
    const stream = await ask("hi [[tokens=500 gap=50]]", { stream: true }, { signal: controller.signal });
    let chunks = 0;
    for await (const chunk of stream) {
      assert.ok(chunk);
      if (++chunks === 2) controller.abort();
    }
    assert.equal((await ask("hi [[tokens=1]]")).choices[0].message.content, "word0");
  },
};

for (const [name, work] of Object.entries(works)) {
  await work();
  console.log(name);
}
