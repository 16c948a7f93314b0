// Surfaces and their data, from the messages of A2UI v0.8. No page, no network.
"use strict";

class VersoSurface {
  constructor(id) {
    this.id = id;
    this.root = null;
    this.styles = {};
    this.components = new Map();
    this.data = {};
    this.refreshers = [];
  }

  // Where a path leads: from the top, or from the item of a list that a component stands for.
  static path(path, context) {
    if (path === "" || path === ".") return context;
    return path.startsWith("/") ? path : `${context === "/" ? "" : context}/${path}`;
  }

  static steps(path) {
    return path.split("/").filter((step) => step !== "");
  }

  get(path, context) {
    let value = this.data;
    for (const step of VersoSurface.steps(VersoSurface.path(path, context))) {
      if (value === null || typeof value !== "object" || !Object.hasOwn(value, step)) return undefined;
      value = value[step];
    }
    return value;
  }

  set(path, context, value) {
    const steps = VersoSurface.steps(VersoSurface.path(path, context));
    if (steps.length === 0) {
      this.data = value;
      return;
    }
    const last = steps.pop();
    let place = this.data;
    for (const step of steps) {
      if (!Object.hasOwn(place, step) || place[step] === null || typeof place[step] !== "object") {
        Object.defineProperty(place, step, { value: {}, writable: true, enumerable: true, configurable: true });
      }
      place = place[step];
    }
    Object.defineProperty(place, last, { value, writable: true, enumerable: true, configurable: true });
  }

  // The value that a literal or a path stands for. A literal beside a path is where the data begins.
  value(bound, context) {
    if (bound === undefined || bound === null) return undefined;
    const literal = bound.literalString ?? bound.literalNumber ?? bound.literalBoolean ?? bound.literalArray;
    if (typeof bound.path !== "string") return literal;
    const found = this.get(bound.path, context);
    if (found === undefined && literal !== undefined) this.set(bound.path, context, literal);
    return found ?? literal;
  }
}

class VersoModel {
  constructor() {
    this.surfaces = new Map();
  }

  reset() {
    this.surfaces.clear();
  }

  surface(id) {
    if (!this.surfaces.has(id)) this.surfaces.set(id, new VersoSurface(id));
    return this.surfaces.get(id);
  }

  apply(message) {
    const [[kind, body]] = Object.entries(message);
    if (kind === "deleteSurface") {
      this.surfaces.delete(body.surfaceId);
      return;
    }
    const surface = this.surface(body.surfaceId);
    if (kind === "beginRendering") {
      surface.root = body.root;
      surface.styles = body.styles ?? {};
    } else if (kind === "surfaceUpdate") {
      for (const component of body.components) surface.components.set(component.id, component);
    } else if (kind === "dataModelUpdate") {
      surface.set(body.path ?? "/", "/", VersoModel.contents(body.contents));
    } else {
      throw new Error(`${kind} is not a message of A2UI v0.8`);
    }
  }

  static contents(entries) {
    const object = Object.create(null);
    for (const entry of entries) {
      object[entry.key] = Array.isArray(entry.valueMap)
        ? VersoModel.contents(entry.valueMap)
        : entry.valueString ?? entry.valueNumber ?? entry.valueBoolean ?? null;
    }
    return object;
  }
}
