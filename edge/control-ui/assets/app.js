// The browser client: connects to the gateway that served it, and to no other, whatever its address says.
//
// Every word that comes from the gateway is put into the page as text, never as markup.

const PROTOCOLS = { min: 3, max: 4 };
const CLIENT = { id: "openclaw-control-ui", displayName: "Verso", version: "1", platform: "web", mode: "webchat", instanceId: crypto.randomUUID() };
const SCOPES = ["operator.admin", "operator.approvals", "operator.pairing"];
const REQUEST_TIMEOUT_MS = 60_000;
const RETRY_MS = { first: 500, most: 10_000 };
const HISTORY_MESSAGES = 100;

const byId = (id) => document.getElementById(id);
const text = (value) => (value === null || value === undefined ? "" : String(value));

// ---- who this browser is -------------------------------------------------------------------------------------------------------------

const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("verso", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("device");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

async function stored(name, value) {
  const db = await database();
  return new Promise((resolve, reject) => {
    const work = db.transaction("device", value === undefined ? "readonly" : "readwrite").objectStore("device");
    const asking = value === undefined ? work.get(name) : work.put(value, name);
    asking.onsuccess = () => resolve(asking.result);
    asking.onerror = () => reject(asking.error);
  });
}

// The key never leaves the browser: it cannot be read, only used. Without a secure context there is none.
async function identity() {
  if (!crypto.subtle) return null;
  try {
    let keys = await stored("keys");
    if (!keys) {
      keys = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
      await stored("keys", keys);
    }
    const raw = await crypto.subtle.exportKey("raw", keys.publicKey);
    return { keys, publicKey: base64url(raw), id: hex(await crypto.subtle.digest("SHA-256", raw)) };
  } catch {
    return null;
  }
}

async function prove(device, params, challenge) {
  const parts = ["v3", device.id, CLIENT.id, CLIENT.mode, params.role, params.scopes.join(","), challenge.ts, params.auth.token ?? "", challenge.nonce, CLIENT.platform, ""];
  const signature = await crypto.subtle.sign("Ed25519", device.keys.privateKey, new TextEncoder().encode(parts.join("|")));
  return { id: device.id, publicKey: device.publicKey, signature: base64url(signature), signedAt: challenge.ts, nonce: challenge.nonce };
}

// ---- the connection ------------------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(error) {
    super(text(error?.message) || "refused");
    this.code = error?.code;
    this.details = error?.details;
  }
}

class Connection {
  constructor(token, on) {
    this.token = token;
    this.on = on;
    this.waiting = new Map();
    this.number = 0;
  }

  // Resolves with the gateway's hello.
  open() {
    // The page's own origin, and nothing that a link could say.
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`;
    this.socket = new WebSocket(address);
    return new Promise((resolve, reject) => {
      this.socket.onmessage = async ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.type === "res") return this.answered(frame);
        if (frame.event !== "connect.challenge") return this.on.event(frame);
        this.connect(frame.payload).then(resolve, reject);
      };
      this.socket.onclose = ({ code, reason }) => {
        const error = new Refused({ message: reason || `the connection ended (${code})`, code: "CLOSED" });
        reject(error);
        for (const { reject: give } of this.waiting.values()) give(error);
        this.waiting.clear();
        this.on.closed(error);
      };
    });
  }

  async connect(challenge) {
    const params = {
      minProtocol: PROTOCOLS.min, maxProtocol: PROTOCOLS.max, client: CLIENT, role: "operator", scopes: SCOPES, caps: [],
      auth: this.token ? { token: this.token, password: this.token } : {},
    };
    const device = await identity();
    if (device) params.device = await prove(device, params, challenge);
    return this.call("connect", params);
  }

  call(method, params = {}) {
    const id = String(++this.number);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Refused({ message: `${method} was not answered in time` }));
      }, REQUEST_TIMEOUT_MS);
      const settle = (how) => (value) => { clearTimeout(timer); how(value); };
      this.waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.socket.send(JSON.stringify({ type: "req", id, method, params }));
    });
  }

  answered(frame) {
    const call = this.waiting.get(frame.id);
    if (!call) return;
    this.waiting.delete(frame.id);
    if (frame.ok) call.resolve(frame.payload);
    else call.reject(new Refused(frame.error));
  }

  close() {
    this.on.closed = () => {};
    this.socket.close(1000);
  }
}

// ---- the page ------------------------------------------------------------------------------------------------------------------------

const page = { connection: null, token: "", session: "", runs: new Map(), retry: RETRY_MS.first };

function cell(row, content) {
  const td = document.createElement("td");
  if (content instanceof Node) td.append(content);
  else td.textContent = text(content);
  row.append(td);
}

function fill(id, rows, empty) {
  const body = byId(id);
  body.replaceChildren();
  for (const cells of rows.length > 0 ? rows : [[empty]]) {
    const row = document.createElement("tr");
    cells.forEach((content) => cell(row, content));
    body.append(row);
  }
}

function say(words) {
  byId("state").textContent = words;
}

function complain(words) {
  byId("problem").textContent = words;
  byId("problem").hidden = !words;
}

function line(role, words) {
  const item = document.createElement("li");
  item.dataset.role = role;
  item.textContent = words;
  byId("messages").append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

function words(message) {
  if (typeof message?.content === "string") return message.content;
  const blocks = Array.isArray(message?.content) ? message.content : [];
  return blocks.map((block) => (block.type === "text" ? text(block.text) : block.type === "toolCall" ? `[calls ${text(block.name)}]` : "")).filter(Boolean).join("\n");
}

async function showHistory() {
  byId("messages").replaceChildren();
  page.runs.clear();
  const session = page.session;
  try {
    const { messages } = await page.connection.call("chat.history", { sessionKey: session, limit: HISTORY_MESSAGES });
    if (session !== page.session) return;
    for (const message of messages ?? []) {
      const said = words(message);
      if (said && (message.role === "user" || message.role === "assistant")) line(message.role, said);
    }
  } catch (error) {
    line("note", `The history cannot be shown: ${error.message}`);
  }
}

function onChat({ runId, sessionKey, state, message, errorMessage }) {
  if (sessionKey !== page.session) return;
  let item = page.runs.get(runId);
  const said = words(message);
  if (!item && said) page.runs.set(runId, (item = line("assistant", "")));
  if (item && said) item.textContent = said;
  if (state === "delta") {
    byId("stop").hidden = false;
    return;
  }
  if (state === "error") line("note", `The agent could not answer: ${text(errorMessage) || "unknown error"}`);
  if (state === "aborted") line("note", "Stopped.");
  page.runs.delete(runId);
  byId("stop").hidden = true;
}

async function send(event) {
  event.preventDefault();
  const field = byId("message");
  const message = field.value.trim();
  if (!message) return;
  field.value = "";
  line("user", message);
  try {
    await page.connection.call("chat.send", { sessionKey: page.session, message, idempotencyKey: crypto.randomUUID() });
    byId("stop").hidden = false;
  } catch (error) {
    line("note", `Not sent: ${error.message}`);
  }
}

async function stop() {
  try {
    await page.connection.call("chat.abort", { sessionKey: page.session });
  } catch (error) {
    line("note", `Not stopped: ${error.message}`);
  }
}

function ago(at) {
  return at ? new Date(at).toLocaleString() : "never";
}

const loaders = {
  async chat() {},
  async overview() {
    const health = await page.connection.call("health");
    const agents = (health.agents ?? []).map((agent) => agent.agentId).join(", ");
    fill("health", [["Answering", health.ok ? "yes" : "no"], ["Agents", agents], ["Sessions", health.sessions?.count], ["Measured", ago(health.ts)]], "");
    const listed = await page.connection.call("services.list").catch((error) => ({ services: [], problem: error.message }));
    fill("services", (listed.services ?? []).map((service) => [service.name, service.state]), listed.problem ?? "Services cannot be listed here.");
  },
  async channels() {
    const status = await page.connection.call("channels.status", {});
    const accounts = Object.entries(status.channelAccounts ?? {}).flatMap(([channel, list]) =>
      list.map((account) => [channel, account.accountId, account.lastError ? `error: ${account.lastError}` : account.running ? "running" : account.configured ? "not running" : "not configured"]));
    fill("accounts", accounts, "No chat network is set up.");
  },
  async sessions() {
    const { sessions } = await page.connection.call("sessions.list", { limit: 100 });
    fill("rows", (sessions ?? []).map((session) => {
      const open = document.createElement("button");
      open.type = "button";
      open.textContent = "Open";
      open.onclick = () => { choose(session.key); show("chat"); };
      return [session.displayName || session.label || session.key, ago(session.updatedAt), open];
    }), "There are no sessions yet.");
  },
};

async function show(tab) {
  for (const button of byId("tabs").children) {
    if (button.dataset.tab === tab) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
    byId(button.dataset.tab).hidden = button.dataset.tab !== tab;
  }
  try {
    await loaders[tab]();
  } catch (error) {
    say(`${tab} cannot be shown: ${error.message}`);
  }
}

function choose(key) {
  const list = byId("session");
  if (![...list.options].some((option) => option.value === key)) list.append(new Option(key, key));
  list.value = key;
  page.session = key;
  showHistory();
}

function entered(hello) {
  page.retry = RETRY_MS.first;
  byId("login").hidden = true;
  byId("tabs").hidden = byId("leave").hidden = false;
  say(`Connected to ${text(hello.server?.version)} (protocol ${text(hello.protocol)})`);
  complain("");
  const main = hello.snapshot?.sessionDefaults?.mainSessionKey ?? "main";
  choose(page.session || main);
  show("chat");
}

function left(words) {
  byId("login").hidden = false;
  for (const id of ["tabs", "leave", "chat", "overview", "channels", "sessions"]) byId(id).hidden = true;
  say("Not connected");
  complain(words);
}

function hint(error) {
  const code = error.details?.code ?? error.code;
  if (code === "CONTROL_UI_DEVICE_IDENTITY_REQUIRED") return `${error.message}. Open this page over HTTPS or as http://127.0.0.1.`;
  if (error.code === "NOT_PAIRED") return `${error.message}. Approve this browser with "verso devices approve", then connect again.`;
  return error.message;
}

async function connect() {
  say("Connecting …");
  let inside = false;
  page.connection = new Connection(page.token, {
    event: (frame) => { if (frame.event === "chat") onChat(frame.payload ?? {}); },
    closed: () => {
      if (!inside) return;
      say("The connection was lost; trying again …");
      setTimeout(connect, page.retry);
      page.retry = Math.min(page.retry * 2, RETRY_MS.most);
    },
  });
  try {
    const hello = await page.connection.open();
    inside = true;
    entered(hello);
  } catch (error) {
    if (page.session && error.code === "CLOSED") {
      setTimeout(connect, page.retry);
      page.retry = Math.min(page.retry * 2, RETRY_MS.most);
      return;
    }
    page.connection.close();
    left(hint(error));
  }
}

// A token in the fragment, as the command line's links have it, is used once and taken out of the address at once. The address of a
// gateway is never taken from a link: this page talks to its own origin.
function fromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash || location.search) history.replaceState(null, "", location.pathname);
  return token;
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  page.token = byId("token").value.trim();
  byId("token").value = "";
  connect();
});
byId("compose").addEventListener("submit", send);
byId("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    byId("compose").requestSubmit();
  }
});
byId("stop").addEventListener("click", stop);
byId("session").addEventListener("change", () => choose(byId("session").value));
byId("leave").addEventListener("click", () => {
  page.connection.close();
  page.token = page.session = "";
  byId("session").replaceChildren();
  left("");
});
for (const button of byId("tabs").children) button.addEventListener("click", () => show(button.dataset.tab));

const given = fromAddress();
if (given) {
  page.token = given;
  connect();
}
