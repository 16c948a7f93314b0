// The one outbox of the page.

import { house } from "../page.js";
import { Outbox } from "./outbox.js";

/** @type {Outbox | undefined} */
let only;

export function outbox() {
  only ??= new Outbox(house.link);
  return only;
}
