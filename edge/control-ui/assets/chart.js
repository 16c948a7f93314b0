// Bars, drawn by hand.

import { h } from "./dom.js";

const [WIDTH, HEIGHT, BOTTOM, LEFT] = [720, 200, 24, 64];
const LABELS_MAX = 8;

/**
 * Bars of stacked parts with a legend. The figures are in each bar's title, and in a table that the page has.
 * @param {string} title
 * @param {{name: string, parts: number[]}[]} bars
 * @param {string[]} kinds
 * @param {(value: number) => string} format
 */
export function chart(title, bars, kinds, format) {
  const sum = (/** @type {number[]} */ parts) => parts.reduce((all, part) => all + (part || 0), 0);
  const most = Math.max(...bars.map(({ parts }) => sum(parts)), 0);
  const top = nice(most);
  const scale = (HEIGHT - BOTTOM - 8) / (top || 1);
  const slot = (WIDTH - LEFT) / Math.max(bars.length, 1);
  const width = Math.max(2, Math.min(slot * 0.7, 40));
  const every = Math.ceil(bars.length / LABELS_MAX);
  const lines = [0, 0.5, 1].map((share) => {
    const y = HEIGHT - BOTTOM - top * share * scale;
    return h("g", { class: "axis" }, h("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y }), h("text", { svg: true, x: LEFT - 6, y: y + 4, "text-anchor": "end" }, format(top * share)));
  });
  const drawn = bars.map(({ name, parts }, place) => {
    let y = HEIGHT - BOTTOM;
    const x = LEFT + slot * place + (slot - width) / 2;
    return h("g", null, h("title", { svg: true }, `${name}: ${format(sum(parts))}`),
      parts.map((part, kind) => { const tall = (part || 0) * scale; y -= tall; return tall > 0 && h("rect", { class: `series-${kind}`, x, y, width, height: tall, rx: 1 }); }),
      place % every === 0 && h("text", { svg: true, class: "label", x: x + width / 2, y: HEIGHT - 6, "text-anchor": "middle" }, name.slice(5)));
  });
  return h("figure", { class: "chart" }, h("figcaption", null, title,
    kinds.length > 1 && h("span", { class: "legend" }, kinds.map((kind, place) => h("span", null, h("span", { class: `swatch series-${place}` }), kind)))),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${format(bars.reduce((all, { parts }) => all + sum(parts), 0))}` }, lines, drawn));
}

/** The next round number. @param {number} value */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}
