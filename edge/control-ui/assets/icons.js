// The pictures of the page: outlines on a grid of 24.

import { h } from "./dom.js";

const PATHS = {
  chat: "M4 5h16v11H9l-5 4z",
  overview: "M4 13h6V4H4zM14 20h6V4h-6zM4 20h6v-4H4z",
  approvals: "M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6zM9 12l2 2 4-4",
  devices: "M3 5h12v9H3zM6 18h6M9 14v4M17 9h4v11h-4z",
  channels: "M5 12a7 7 0 0 1 14 0M8 12a4 4 0 0 1 8 0M12 12v8",
  cron: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 8v4l3 2",
  usage: "M4 20V10M10 20V4M16 20v-8M21 20H3",
  logs: "M5 6h14M5 10h14M5 14h9M5 18h6",
  config: "M4 7h9M17 7h3M4 12h3M11 12h9M4 17h9M17 17h3M15 5v4M9 10v4M15 15v4",
  menu: "M4 7h16M4 12h16M4 17h16",
  send: "M12 20V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  attach: "M8 12l6-6a3 3 0 0 1 4 4l-8 8a5 5 0 0 1-7-7l7-7",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v11H9zM5 15V4h10",
  retry: "M5 12a7 7 0 1 0 2-5L5 9M5 4v5h5",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  down: "M12 5v14M6 13l6 6 6-6",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  tool: "M14 6a4 4 0 0 1 5 5l-9 9-4-4 9-9zM14 6l2 2",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1 1M18 18l1 1M5 19l1-1M18 6l1-1",
  leave: "M14 4h5v16h-5M4 12h10M10 8l4 4-4 4",
  pen: "M4 20l1-4L16 5l3 3L8 19z",
  bin: "M5 7h14M9 7V4h6v3M7 7l1 13h8l1-13",
};

/** @param {keyof typeof PATHS} name */
export const icon = (name) =>
  h("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, h("path", { d: PATHS[name] }));
