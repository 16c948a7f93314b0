// Who this browser is: a key that is made here. Where the browser can, the key cannot be read, only used. Where it cannot (older browsers,
// pages without a secure context), the key is made and used by our own code.

import { forget, keep, load } from "./storage.js";

export const CLIENT = {
  id: "openclaw-control-ui",
  version: "2",
  platform: "web",
  mode: "webchat",
  displayName: `Control UI, ${browserName()}`,
  instanceId: randomId(),
};

/**
 * @typedef {object} Device
 * @property {string} id
 * @property {string} publicKey
 * @property {(words: string) => Promise<string>} sign
 */

/** A random name in the form of a UUID; `crypto.randomUUID` is for secure contexts only. */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

function browserName() {
  const agent = navigator.userAgent;
  const browser = ["Edg", "Firefox", "Chrome", "Safari"].find((name) => agent.includes(`${name}/`));
  const system = ["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"].find((name) => agent.includes(name));
  return [{ Edg: "Edge" }[browser ?? ""] ?? browser ?? "browser", system].filter(Boolean).join(" on ");
}

/** @param {ArrayBuffer | Uint8Array} bytes */
const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** @param {ArrayBuffer | Uint8Array} bytes */
function hex(bytes) {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const utf8 = new TextEncoder();

/** @returns {Promise<Device>} */
async function native() {
  let keys = await load("device", "keys");
  if (!keys) {
    keys = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    await keep("device", "keys", keys);
  }
  const raw = await crypto.subtle.exportKey("raw", keys.publicKey);
  const id = hex(await crypto.subtle.digest("SHA-256", raw));
  return { id, publicKey: base64url(raw), sign: async (words) => base64url(await crypto.subtle.sign("Ed25519", keys.privateKey, utf8.encode(words))) };
}

/** @returns {Promise<Device>} */
async function own() {
  const { publicKey, sha256, sign } = await import("./ed25519.js");
  // A browser that keeps nothing is another device each time.
  let seed = await load("device", "seed").catch(() => null);
  if (!seed) {
    seed = crypto.getRandomValues(new Uint8Array(32));
    await keep("device", "seed", seed).catch(() => null);
  }
  const key = publicKey(seed);
  return { id: hex(sha256(key)), publicKey: base64url(key), sign: async (words) => base64url(sign(seed, utf8.encode(words))) };
}

/** @type {Promise<Device> | undefined} */
let known;

/** This browser's identity, the same each time. */
export function identity() {
  known ??= crypto.subtle ? native().catch(own) : own();
  return known;
}

/**
 * Proves to the gateway that this browser has its key.
 * @param {{role: string, scopes: string[], auth: {token?: string, deviceToken?: string}}} params
 * @param {{ts: number, nonce: string}} challenge
 */
export async function prove({ role, scopes, auth }, challenge) {
  const { id, publicKey, sign } = await identity();
  const token = auth.token ?? auth.deviceToken ?? "";
  const words = ["v3", id, CLIENT.id, CLIENT.mode, role, scopes.join(","), challenge.ts, token, challenge.nonce, CLIENT.platform, ""];
  return { id, publicKey, signature: await sign(words.join("|")), signedAt: challenge.ts, nonce: challenge.nonce };
}

/** The token that the gateway gave this device; worth nothing without its key. @returns {Promise<string | undefined>} */
export const deviceToken = () => load("device", "token").catch(() => undefined);

/** @param {string} token */
export const keepDeviceToken = (token) => keep("device", "token", token).catch(() => undefined);

export const forgetDeviceToken = () => forget("device", "token").catch(() => undefined);
