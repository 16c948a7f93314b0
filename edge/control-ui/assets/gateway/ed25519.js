// Ed25519 for browsers, and for pages without a secure context, that offer none of their own. Slow and not of constant time: it signs one
// line per connection, and whoever could measure that is in the browser already.

const P = 2n ** 255n - 19n;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n;
const ROOT_OF_MINUS_ONE = 19681161376707505956807079304988542015446066515923890162744021073123829784752n;
const MASK = 2n ** 64n - 1n;

/** @param {bigint} value @param {bigint} by */
const mod = (value, by = P) => ((value % by) + by) % by;

/** @param {bigint} base @param {bigint} exponent @param {bigint} by */
function power(base, exponent, by = P) {
  let result = 1n;
  for (base = mod(base, by); exponent > 0n; exponent >>= 1n, base = mod(base * base, by)) if (exponent & 1n) result = mod(result * base, by);
  return result;
}

/** @param {number} count */
function primes(count) {
  /** @type {number[]} */
  const found = [];
  for (let number = 2; found.length < count; number++) if (found.every((prime) => number % prime)) found.push(number);
  return found;
}

/** The first bits behind the point of a root. @param {number} of @param {bigint} nth @param {bigint} bits */
function fraction(of, nth, bits) {
  const wanted = BigInt(of) << (bits * nth);
  let low = 0n;
  let high = 1n << (bits + 9n);
  while (low < high) {
    const middle = (low + high + 1n) >> 1n;
    if (middle ** nth <= wanted) low = middle;
    else high = middle - 1n;
  }
  return low & ((1n << bits) - 1n);
}

/**
 * Both hashes of the family SHA-2 that are needed, by the length of their words.
 * @param {Uint8Array} message @param {64n | 32n} bits
 */
function sha2(message, bits) {
  const wide = bits === 64n;
  const [rounds, block, word] = wide ? [80, 128, 8] : [64, 64, 4];
  const mask = wide ? MASK : 0xffffffffn;
  const turns = wide ? [[28n, 34n, 39n], [14n, 18n, 41n], [1n, 8n, 7n], [19n, 61n, 6n]] : [[2n, 13n, 22n], [6n, 11n, 25n], [7n, 18n, 3n], [17n, 19n, 10n]];
  /** @param {bigint} x @param {bigint} by */
  const turn = (x, by) => ((x >> by) | (x << (bits - by))) & mask;
  const constants = primes(rounds).map((prime) => fraction(prime, 3n, bits));
  let state = primes(8).map((prime) => fraction(prime, 2n, bits));
  const length = Math.ceil((message.length + 1 + word * 2) / block) * block;
  const padded = new Uint8Array(length);
  padded.set(message);
  padded[message.length] = 0x80;
  new DataView(padded.buffer).setUint32(length - 4, message.length * 8);
  for (let start = 0; start < length; start += block) {
    /** @type {bigint[]} */
    const w = [];
    for (let i = 0; i < 16; i++) w.push(number(padded.subarray(start + i * word, start + (i + 1) * word), true));
    for (let i = 16; i < rounds; i++) {
      const [a, b] = [w[i - 15], w[i - 2]];
      const one = turn(a, turns[2][0]) ^ turn(a, turns[2][1]) ^ (a >> turns[2][2]);
      const two = turn(b, turns[3][0]) ^ turn(b, turns[3][1]) ^ (b >> turns[3][2]);
      w.push((w[i - 16] + one + w[i - 7] + two) & mask);
    }
    let [a, b, c, d, e, f, g, hh] = state;
    for (let i = 0; i < rounds; i++) {
      const one = turn(e, turns[1][0]) ^ turn(e, turns[1][1]) ^ turn(e, turns[1][2]);
      const first = hh + one + ((e & f) ^ (~e & mask & g)) + constants[i] + w[i];
      const two = turn(a, turns[0][0]) ^ turn(a, turns[0][1]) ^ turn(a, turns[0][2]);
      const second = two + ((a & b) ^ (a & c) ^ (b & c));
      [hh, g, f, e, d, c, b, a] = [g, f, e, (d + first) & mask, c, b, a, (first + second) & mask];
    }
    state = [a, b, c, d, e, f, g, hh].map((value, i) => (value + state[i]) & mask);
  }
  const result = new Uint8Array(8 * word);
  state.forEach((value, i) => result.set(bytes(value, word, true), i * word));
  return result;
}

/** @param {Uint8Array} from @param {boolean} [bigFirst] */
function number(from, bigFirst) {
  let value = 0n;
  for (const byte of bigFirst ? from : [...from].reverse()) value = (value << 8n) | BigInt(byte);
  return value;
}

/** @param {bigint} value @param {number} length @param {boolean} [bigFirst] */
function bytes(value, length, bigFirst) {
  const result = new Uint8Array(length);
  for (let i = 0; i < length; i++, value >>= 8n) result[bigFirst ? length - 1 - i : i] = Number(value & 255n);
  return result;
}

/** A point as X, Y, Z, T. @typedef {[bigint, bigint, bigint, bigint]} Point */

/** @param {Point} one @param {Point} two @returns {Point} */
function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = mod((y1 - x1) * (y2 - x2));
  const b = mod((y1 + x1) * (y2 + x2));
  const c = mod(2n * t1 * t2 * D);
  const d = mod(2n * z1 * z2);
  const [e, f, g, i] = [b - a, d - c, d + c, b + a];
  return [mod(e * f), mod(g * i), mod(f * g), mod(e * i)];
}

/** @param {bigint} factor @param {Point} point */
function multiply(factor, point) {
  /** @type {Point} */
  let result = [0n, 1n, 1n, 0n];
  for (; factor > 0n; factor >>= 1n, point = add(point, point)) if (factor & 1n) result = add(result, point);
  return result;
}

/** @returns {Point} */
function base() {
  const y = mod(4n * power(5n, P - 2n));
  const square = mod((y * y - 1n) * power(D * y * y + 1n, P - 2n));
  let x = power(square, (P + 3n) / 8n);
  if (mod(x * x) !== square) x = mod(x * ROOT_OF_MINUS_ONE);
  if (x & 1n) x = P - x;
  return [x, y, 1n, mod(x * y)];
}

/** @param {Point} point */
function compress([x, y, z]) {
  const inverse = power(z, P - 2n);
  return bytes(mod(y * inverse) | ((mod(x * inverse) & 1n) << 255n), 32);
}

/** @param {Uint8Array} seed */
function expand(seed) {
  const hash = sha2(seed, 64n);
  hash[0] &= 248;
  hash[31] = (hash[31] & 127) | 64;
  return { scalar: number(hash.subarray(0, 32)), prefix: hash.subarray(32) };
}

/** @param {...Uint8Array} parts */
const joined = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

/** The public key of 32 random bytes. @param {Uint8Array} seed */
export const publicKey = (seed) => compress(multiply(expand(seed).scalar, base()));

/** @param {Uint8Array} message */
export const sha256 = (message) => sha2(message, 32n);

/** @param {Uint8Array} seed @param {Uint8Array} message */
export function sign(seed, message) {
  const { scalar, prefix } = expand(seed);
  const own = compress(multiply(scalar, base()));
  const nonce = mod(number(sha2(joined(prefix, message), 64n)), L);
  const commitment = compress(multiply(nonce, base()));
  const challenge = mod(number(sha2(joined(commitment, own, message), 64n)), L);
  return joined(commitment, bytes(mod(nonce + challenge * scalar, L), 32));
}
