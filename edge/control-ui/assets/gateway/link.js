// The connection to the gateway that served the page, and to no other. It comes back by itself, and says how it fares.

import { CLIENT, deviceToken, forgetDeviceToken, keepDeviceToken, prove } from "./device.js";

const PROTOCOLS = { minProtocol: 3, maxProtocol: 4 };
const SCOPES = ["operator.admin", "operator.approvals", "operator.pairing"];
const CAPABILITIES = ["tool-events", "approvals"];
const REQUEST_TIMEOUT_MS = 60_000;
const HELLO_TIMEOUT_MS = 15_000;
const RETRY_MS = { first: 250, most: 10_000 };
const PAIRING_POLL_MS = 2_000;
/** A gateway that misses two of its ticks is gone. */
const TICKS_MISSED_MAX = 2.5;

/** Codes after which asking again would be asking in vain. */
const IN_VAIN = /UNAUTHORIZED|TOKEN|PASSWORD|AUTH_|DEVICE_|ORIGIN|PROTOCOL|CREDENTIAL|IDENTITY|RATE_LIMITED/;

/** What the gateway, or the way to it, refused. */
export class Refused extends Error {
  /** @param {any} error */
  constructor(error) {
    super(String(error?.message || "refused"));
    this.code = String(error?.code ?? "");
    this.details = error?.details ?? {};
    this.retryable = Boolean(error?.retryable);
    this.retryAfterMs = Number(error?.retryAfterMs) || 0;
  }

  /** Whether the request never reached anybody, or may be repeated with the same key. */
  get again() {
    return this.retryable || ["CLOSED", "TIMEOUT", "UNAVAILABLE"].includes(this.code);
  }
}

/**
 * @typedef {{phase: "idle"} | {phase: "connecting"} | {phase: "open"} | {phase: "lost", at: number, why: string, planned: boolean}
 *   | {phase: "pairing", error: Refused} | {phase: "refused", error: Refused}} State
 */

/** Emits `state` when it changes, and `gateway` for each event of the gateway. */
export class Link extends EventTarget {
  /** @type {State} */
  state = { phase: "idle" };
  /** @type {any} what the gateway said of itself */
  hello = null;
  /** The newest summary of the gateway's health. @type {any} */
  health = {};
  /** Milliseconds that the newest request took, there and back. @type {number | null} */
  roundTripMs = null;

  #secret = "";
  #wanted = false;
  #run = 0;
  #number = 0;
  #retryMs = RETRY_MS.first;
  #expectedMs = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<string, {resolve: (value: any) => void, reject: (error: Refused) => void, timer: number, at: number}>} */
  #waiting = new Map();
  #wake = () => {};

  constructor() {
    super();
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#wake(); });
  }

  /** Whether this browser may do what needs a scope such as `admin`. @param {string} scope */
  may(scope) {
    const granted = this.hello?.auth?.scopes ?? [];
    return granted.includes("operator.admin") || granted.includes(`operator.${scope}`);
  }

  /** Whether a service answers, as far as the gateway said. @param {string} service */
  serves(service) {
    return !(this.health?.unavailable ?? []).includes(service);
  }

  /** Connects with a token or password; without one, with what this device was given before. @param {string} [secret] */
  open(secret = "") {
    this.#secret = secret;
    this.#wanted = true;
    this.#keepOpen(++this.#run);
  }

  /** Ends the connection; `forget` also gives up what lets this device in. @param {boolean} [forget] */
  async close(forget = false) {
    this.#wanted = false;
    this.#run++;
    this.#secret = "";
    this.#socket?.close(1000);
    if (forget) await forgetDeviceToken();
    this.#become({ phase: "idle" });
  }

  /** Tries now what would be tried later. */
  hurry() {
    this.#wake();
  }

  /** @param {State} state */
  #become(state) {
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => { clearTimeout(timer); resolve(undefined); };
    }).then(() => { this.#wake = () => {}; });
  }

  /** @param {number} run */
  async #keepOpen(run) {
    this.#become({ phase: "connecting" });
    while (this.#wanted && run === this.#run) {
      /** @type {Refused} */
      let error;
      try {
        const { ended } = await this.#connect();
        if (run !== this.#run) return;
        this.#retryMs = RETRY_MS.first;
        error = await ended;
      } catch (refusal) {
        error = refusal instanceof Refused ? refusal : new Refused({ message: String(refusal), code: "CLOSED" });
      }
      if (!this.#wanted || run !== this.#run) return;
      if (error.code === "NOT_PAIRED") {
        this.#become({ phase: "pairing", error });
        await this.#pause(PAIRING_POLL_MS);
        continue;
      }
      if (!error.again && IN_VAIN.test(`${error.code} ${error.details.code ?? ""} ${error.message}`.toUpperCase())) {
        this.#wanted = false;
        if (!this.#secret) await forgetDeviceToken();
        return this.#become({ phase: "refused", error });
      }
      const planned = this.#expectedMs > 0;
      const ms = Math.max(planned ? this.#expectedMs : this.#retryMs * (0.75 + Math.random() / 2), error.retryAfterMs);
      this.#expectedMs = 0;
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MS.most);
      this.#become({ phase: "lost", at: Date.now() + ms, why: error.message, planned });
      await this.#pause(ms);
    }
  }

  /** Resolves when the gateway has said hello. @returns {Promise<{ended: Promise<Refused>}>} */
  #connect() {
    // The page's own origin, and nothing that a link could say.
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`);
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      /** @type {(error: Refused) => void} */
      let end = () => {};
      const ended = new Promise((settle) => { end = settle; });
      let patienceMs = HELLO_TIMEOUT_MS;
      let watchdog = setTimeout(() => socket.close(4000, "no hello in time"), patienceMs);
      socket.onmessage = ({ data }) => {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => socket.close(4000, "no sign of life"), patienceMs);
        const frame = JSON.parse(data);
        if (frame.type === "res") return this.#answered(frame);
        if (frame.event !== "connect.challenge") return this.#heard(frame);
        this.#introduce(frame.payload).then((hello) => {
          patienceMs = (hello.policy?.tickIntervalMs ?? 30_000) * TICKS_MISSED_MAX;
          resolve({ ended });
          this.#become({ phase: "open" });
        }, (error) => { reject(error); socket.close(1000); });
      };
      socket.onclose = ({ code, reason }) => {
        clearTimeout(watchdog);
        const error = new Refused({ message: reason || `connection ended (${code})`, code: "CLOSED" });
        for (const { reject: give, timer } of this.#waiting.values()) { clearTimeout(timer); give(error); }
        this.#waiting.clear();
        if (this.#socket === socket) this.#socket = null;
        // What the gateway answered comes before the end that follows it.
        setTimeout(() => reject(error));
        end(error);
      };
    });
  }

  /** @param {{ts: number, nonce: string}} challenge */
  async #introduce(challenge) {
    const given = this.#secret ? undefined : await deviceToken();
    /** @type {{token?: string, password?: string, deviceToken?: string}} */
    const auth = this.#secret ? { token: this.#secret, password: this.#secret } : given ? { deviceToken: given } : {};
    const params = { ...PROTOCOLS, client: CLIENT, role: "operator", scopes: SCOPES, caps: CAPABILITIES, auth, locale: navigator.language };
    const device = await prove(params, challenge);
    const hello = await this.#send("connect", { ...params, device }, HELLO_TIMEOUT_MS);
    this.hello = hello;
    this.health = hello.snapshot?.health ?? {};
    if (hello.auth?.deviceToken) await keepDeviceToken(hello.auth.deviceToken);
    return hello;
  }

  /** @param {any} frame */
  #heard(frame) {
    if (frame.event === "shutdown") this.#expectedMs = Math.max(frame.payload?.restartExpectedMs ?? 0, 0);
    if (frame.event === "health") this.health = frame.payload;
    this.dispatchEvent(new CustomEvent("gateway", { detail: { name: frame.event, payload: frame.payload ?? {} } }));
  }

  /** @param {any} frame */
  #answered(frame) {
    const call = this.#waiting.get(frame.id);
    if (!call) return;
    this.#waiting.delete(frame.id);
    clearTimeout(call.timer);
    this.roundTripMs = performance.now() - call.at;
    if (frame.ok) call.resolve(frame.payload);
    else call.reject(new Refused(frame.error));
  }

  /** @param {string} method @param {object} params @param {number} timeoutMs @returns {Promise<any>} */
  #send(method, params, timeoutMs) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Refused({ message: "not connected", code: "CLOSED" }));
    const id = String(++this.#number);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Refused({ message: `${method} was not answered in time`, code: "TIMEOUT" }));
      }, timeoutMs);
      this.#waiting.set(id, { resolve, reject, timer, at: performance.now() });
      socket.send(JSON.stringify({ type: "req", id, method, params }));
    });
  }

  /** Asks the gateway. @param {string} method @param {object} [params] @param {number} [timeoutMs] */
  call(method, params = {}, timeoutMs = REQUEST_TIMEOUT_MS) {
    if (this.state.phase !== "open") return Promise.reject(new Refused({ message: "not connected", code: "CLOSED" }));
    return this.#send(method, params, timeoutMs);
  }
}
