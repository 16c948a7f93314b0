// What two texts have in common, line by line, and how two people's changes of one text go together.

/** Lines beyond which two texts are not compared but replaced as a whole: the comparison takes the square of what differs. */
const LINES_MAX = 4_000;

/**
 * @typedef {{kind: "same" | "gone" | "new", text: string}} Line
 * @typedef {{from: number, to: number, lines: string[]}} Change lines `from` up to `to` of the base are replaced
 * @typedef {{lines: string[]} | {mine: string[], theirs: string[]}} Piece
 */

/** @param {string[]} before @param {string[]} after @returns {Line[]} */
export function diff(before, after) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const [one, two] = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  const same = (/** @type {string} */ text) => ({ kind: /** @type {const} */ ("same"), text });
  return [...before.slice(0, start).map(same), ...between(one, two), ...before.slice(before.length - end).map(same)];
}

/** The longest common part of what is left, by the table of its lengths. @param {string[]} one @param {string[]} two @returns {Line[]} */
function between(one, two) {
  if (one.length * two.length > LINES_MAX * LINES_MAX / 4) return [...one.map((text) => ({ kind: /** @type {const} */ ("gone"), text })), ...two.map((text) => ({ kind: /** @type {const} */ ("new"), text }))];
  const width = two.length + 1;
  const lengths = new Uint32Array((one.length + 1) * width);
  for (let i = one.length - 1; i >= 0; i--) {
    for (let j = two.length - 1; j >= 0; j--) {
      lengths[i * width + j] = one[i] === two[j] ? lengths[(i + 1) * width + j + 1] + 1 : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  /** @type {Line[]} */
  const lines = [];
  let [i, j] = [0, 0];
  while (i < one.length || j < two.length) {
    if (i < one.length && j < two.length && one[i] === two[j]) { lines.push({ kind: "same", text: one[i] }); i++; j++; }
    else if (j >= two.length || i < one.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) lines.push({ kind: "gone", text: one[i++] });
    else lines.push({ kind: "new", text: two[j++] });
  }
  return lines;
}

/** @param {string[]} base @param {string[]} next @returns {Change[]} */
function changes(base, next) {
  /** @type {Change[]} */
  const found = [];
  /** @type {Change | null} */
  let open = null;
  let at = 0;
  for (const { kind, text } of diff(base, next)) {
    if (kind === "same") { open = null; at++; continue; }
    if (!open) found.push(open = { from: at, to: at, lines: [] });
    if (kind === "gone") open.to = ++at;
    else open.lines.push(text);
  }
  return found;
}

/**
 * Lays two changes of one text together. Where both changed the same lines, and not alike, somebody has to choose.
 * @param {string} base @param {string} mine @param {string} theirs @returns {Piece[]}
 */
export function merge(base, mine, theirs) {
  const [all, one, two] = [base, mine, theirs].map((text) => text.split("\n"));
  const [left, right] = [changes(all, one), changes(all, two)];
  /** @type {Piece[]} */
  const pieces = [];
  let at = 0;
  while (left.length || right.length) {
    const from = Math.min(left[0]?.from ?? Infinity, right[0]?.from ?? Infinity);
    if (from > at) pieces.push({ lines: all.slice(at, from) });
    // Everything that touches what was taken already belongs to it.
    let to = from;
    /** @type {[Change[], Change[]]} */
    const taken = [[], []];
    for (let more = true; more;) {
      more = false;
      [left, right].forEach((side, place) => {
        while (side.length && (side[0].from < to || side[0].from === from && side[0].from <= to)) {
          const change = /** @type {Change} */ (side.shift());
          to = Math.max(to, change.to);
          taken[place].push(change);
          more = true;
        }
      });
    }
    const [own, other] = taken.map((some) => applied(all, some, from, to));
    if (taken[1].length === 0 || own.join("\n") === other.join("\n")) pieces.push({ lines: own });
    else if (taken[0].length === 0) pieces.push({ lines: other });
    else pieces.push({ mine: own, theirs: other });
    at = to;
  }
  if (at < all.length) pieces.push({ lines: all.slice(at) });
  return pieces;
}

/** @param {string[]} all @param {Change[]} some @param {number} from @param {number} to */
function applied(all, some, from, to) {
  const lines = [];
  let at = from;
  for (const change of some) {
    lines.push(...all.slice(at, change.from), ...change.lines);
    at = change.to;
  }
  return [...lines, ...all.slice(at, to)];
}
