// The components of the standard catalog, as elements. Text of agents becomes text, never markup.
"use strict";

const VersoComponents = (() => {
  const JUSTIFY = { center: "center", end: "flex-end", start: "flex-start", spaceAround: "space-around", spaceBetween: "space-between", spaceEvenly: "space-evenly" };
  const ALIGN = { center: "center", end: "flex-end", start: "flex-start", stretch: "stretch" };
  const TEXT_TAGS = { h1: "h1", h2: "h2", h3: "h3", h4: "h4", h5: "h5" };
  const SCHEMES = new Set(["http:", "https:", "data:", "blob:"]);
  // A surface that refers to itself ends here.
  const DEPTH_MAX = 64;

  const element = (tag, className) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    return made;
  };
  const words = (value) => (value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

  // Builds one component and what is below it. `page` sends actions and redraws.
  const build = (page, surface, id, context, depth = 0) => {
    const found = surface.components.get(id);
    if (!found || depth > DEPTH_MAX) {
      const missing = element("div", "unknown");
      missing.textContent = found ? "nested too deeply" : `component "${id}" has not come yet`;
      return missing;
    }
    const [[kind, props]] = Object.entries(found.component);
    const make = Object.hasOwn(MAKERS, kind) ? MAKERS[kind] : unknown;
    const scene = {
      page, surface, context, id, kind,
      child: (childId, at = context) => build(page, surface, childId, at, depth + 1),
      text: (bound) => words(surface.value(bound, context)),
      value: (bound) => surface.value(bound, context),
      // Does something now, and again whenever the data changes.
      always: (work) => { work(); surface.refreshers.push(work); },
      put: (bound, value) => {
        if (typeof bound?.path !== "string") return;
        surface.set(bound.path, context, value);
        for (const refresh of surface.refreshers) refresh();
      },
    };
    const made = make(scene, props);
    made.dataset.component = id;
    if (typeof found.weight === "number") made.style.flex = `${found.weight} 1 0`;
    return made;
  };

  const unknown = (scene) => {
    const made = element("div", "unknown");
    made.textContent = `${scene.kind} cannot be shown here`;
    return made;
  };

  const children = (scene, container, listed) => {
    if (listed?.explicitList) {
      container.append(...listed.explicitList.map((id) => scene.child(id)));
      return;
    }
    const template = listed?.template;
    if (!template) return;
    let shown;
    scene.always(() => {
      const items = scene.surface.get(template.dataBinding, scene.context);
      const keys = items !== null && typeof items === "object" ? Object.keys(items) : [];
      if (shown === keys.join("\n")) return;
      shown = keys.join("\n");
      const base = scene.surface.constructor.path(template.dataBinding, scene.context);
      container.replaceChildren(...keys.map((key) => scene.child(template.componentId, `${base}/${key}`)));
    });
  };

  const line = (direction) => (scene, props) => {
    const made = element("div", direction);
    made.style.justifyContent = JUSTIFY[props.distribution] ?? "";
    made.style.alignItems = ALIGN[props.alignment] ?? "";
    children(scene, made, props.children);
    return made;
  };

  const media = (tag) => (scene, props) => {
    const made = element(tag);
    if (tag !== "img") made.controls = true;
    scene.always(() => {
      let url;
      try { url = new URL(scene.text(props.url), location.href); } catch { return; }
      if (SCHEMES.has(url.protocol) && made.src !== url.href) made.src = url.href;
    });
    return made;
  };

  const labelled = (scene, props, input, className = "field") => {
    const label = element("label", className);
    const caption = element("span");
    scene.always(() => { caption.textContent = scene.text(props.label); });
    label.append(...(className === "choice" ? [input, caption] : [caption, input]));
    return label;
  };

  const MAKERS = {
    Text: (scene, props) => {
      const made = element(TEXT_TAGS[props.usageHint] ?? "p", props.usageHint === "caption" ? "text caption" : "text");
      scene.always(() => { made.textContent = scene.text(props.text); });
      return made;
    },
    Image: (scene, props) => {
      const made = media("img")(scene, props);
      if (props.usageHint) made.classList.add(props.usageHint);
      if (props.fit) made.style.objectFit = props.fit;
      scene.always(() => { made.alt = scene.text(props.altText); });
      return made;
    },
    Icon: (scene, props) => {
      const made = element("span", "glyph");
      scene.always(() => { made.textContent = scene.text(props.name); });
      return made;
    },
    Video: media("video"),
    AudioPlayer: (scene, props) => {
      const made = media("audio")(scene, props);
      scene.always(() => { made.title = scene.text(props.description); });
      return made;
    },
    Row: line("row"),
    Column: line("column"),
    List: (scene, props) => {
      const made = element("div", props.direction === "horizontal" ? "list horizontal" : "list");
      made.style.alignItems = ALIGN[props.alignment] ?? "";
      children(scene, made, props.children);
      return made;
    },
    Card: (scene, props) => {
      const made = element("div", "card");
      made.append(scene.child(props.child));
      return made;
    },
    Tabs: (scene, props) => {
      const made = element("div", "column");
      const bar = element("div", "row");
      bar.setAttribute("role", "tablist");
      const panel = element("div");
      const chosen = scene.page.chosenTabs;
      const key = `${scene.surface.id}/${scene.id}/${scene.context}`;
      const choose = (index) => {
        chosen.set(key, index);
        [...bar.children].forEach((tab, at) => tab.setAttribute("aria-selected", String(at === index)));
        panel.replaceChildren(...(props.tabItems[index] ? [scene.child(props.tabItems[index].child)] : []));
      };
      props.tabItems.forEach((item, index) => {
        const tab = element("button");
        tab.type = "button";
        tab.setAttribute("role", "tab");
        scene.always(() => { tab.textContent = scene.text(item.title); });
        tab.addEventListener("click", () => choose(index));
        bar.append(tab);
      });
      made.append(bar, panel);
      choose(chosen.get(key) ?? 0);
      return made;
    },
    Divider: (scene, props) => element("hr", props.axis === "vertical" ? "vertical" : ""),
    Modal: (scene, props) => {
      const made = element("div");
      const dialog = element("dialog");
      const close = element("button");
      close.type = "button";
      close.textContent = "Close";
      close.addEventListener("click", () => dialog.close());
      dialog.append(scene.child(props.contentChild), close);
      const entry = scene.child(props.entryPointChild);
      entry.addEventListener("click", () => dialog.showModal());
      made.append(entry, dialog);
      return made;
    },
    Button: (scene, props) => {
      const made = element("button", props.primary ? "primary" : "");
      made.type = "button";
      made.append(scene.child(props.child));
      made.addEventListener("click", () => {
        const context = {};
        for (const { key, value } of props.action.context ?? []) context[key] = scene.value(value) ?? null;
        scene.page.act({ name: props.action.name, surfaceId: scene.surface.id, sourceComponentId: scene.id, context });
      });
      return made;
    },
    CheckBox: (scene, props) => {
      const input = element("input");
      input.type = "checkbox";
      scene.always(() => { input.checked = scene.value(props.value) === true; });
      input.addEventListener("change", () => scene.put(props.value, input.checked));
      return labelled(scene, props, input, "choice");
    },
    TextField: (scene, props) => {
      const input = element(props.textFieldType === "longText" ? "textarea" : "input");
      if (input.tagName === "INPUT") input.type = { number: "number", date: "date", obscured: "password" }[props.textFieldType] ?? "text";
      if (props.validationRegexp && input.tagName === "INPUT") input.pattern = props.validationRegexp;
      scene.always(() => {
        const text = scene.text(props.text);
        if (input.value !== text) input.value = text;
      });
      input.addEventListener("input", () => scene.put(props.text, input.value));
      return labelled(scene, props, input);
    },
    DateTimeInput: (scene, props) => {
      const input = element("input");
      const [date, time] = [props.enableDate !== false, props.enableTime === true];
      input.type = date && time ? "datetime-local" : time ? "time" : "date";
      scene.always(() => { input.value = scene.text(props.value); });
      input.addEventListener("change", () => scene.put(props.value, input.value));
      return input;
    },
    MultipleChoice: (scene, props) => {
      const made = element("div", "column");
      const one = props.maxAllowedSelections === 1;
      const selected = () => {
        const value = scene.value(props.selections);
        return value !== null && typeof value === "object" ? Object.values(value) : value === undefined ? [] : [value];
      };
      for (const option of props.options) {
        const input = element("input");
        input.type = one ? "radio" : "checkbox";
        if (one) input.name = `${scene.surface.id}/${scene.id}/${scene.context}`;
        scene.always(() => { input.checked = selected().includes(option.value); });
        input.addEventListener("change", () => {
          const others = one ? [] : selected().filter((value) => value !== option.value);
          const wanted = input.checked ? [...others, option.value] : others;
          scene.put(props.selections, wanted.slice(-(props.maxAllowedSelections ?? wanted.length) || wanted.length));
        });
        made.append(labelled(scene, { label: option.label }, input, "choice"));
      }
      return made;
    },
    Slider: (scene, props) => {
      const input = element("input");
      input.type = "range";
      input.min = String(props.minValue ?? 0);
      input.max = String(props.maxValue ?? 100);
      input.step = "any";
      scene.always(() => { input.value = String(scene.value(props.value) ?? 0); });
      input.addEventListener("input", () => scene.put(props.value, Number(input.value)));
      return props.label ? labelled(scene, props, input) : input;
    },
  };

  return { build };
})();
