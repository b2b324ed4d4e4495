// What widgets are made of: elements, controls, tables, words.

const SVG = "http://www.w3.org/2000/svg";
let count = 0;

// A name that no other part of the page has.
export function fresh() {
  count += 1;
  return `widget-${count}`;
}

// Makes an HTML element: el("p", { class: "x" }, "text", child).
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// Makes an SVG element.
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(
    ...children.flat(Infinity).filter((child) => child != null && child !== false),
  );
  return node;
}

// Text of an SVG figure, by its middle unless told otherwise.
export function text(x, y, words, cls = "d-text", anchor = "middle") {
  return svg("text", { x, y, class: cls, "text-anchor": anchor }, String(words));
}

// Wraps figures of a sentence: 1234.5 -> "1,234.5".
export function say(number, digits = 0) {
  return number.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

export function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

// A button, a labelled select, a labelled range, a labelled checkbox.
export function button(words, onclick, { main = false } = {}) {
  const cls = main ? "w-button w-main" : "w-button";
  return el("button", { type: "button", class: cls, onclick }, words);
}

// WHY aria-disabled: a button that turns disabled throws the keyboard's focus away.
export function allow(control, allowed) {
  if (allowed) control.removeAttribute("aria-disabled");
  else control.setAttribute("aria-disabled", "true");
}

export function allowed(control) {
  return control.getAttribute("aria-disabled") !== "true";
}

export function choose(label, options, chosen, onchange) {
  const list = options.map(([value, words]) =>
    el("option", { value, selected: String(value) === String(chosen) }, words),
  );
  const id = fresh();
  const control = el("select", { id, onchange: () => onchange(control.value) }, list);
  const node = el(
    "div",
    { class: "w-field" },
    el("label", { for: id }, label),
    control,
  );
  return { control, node };
}

export function slide(label, { max, value, words }, oninput) {
  const output = el("output", { class: "w-value", "aria-hidden": "true" });
  const id = fresh();
  const control = el("input", { id, type: "range", min: 0, max, step: 1, value });
  const show = () => {
    output.textContent = words(Number(control.value));
    control.setAttribute("aria-valuetext", output.textContent);
  };
  control.addEventListener("input", () => {
    show();
    oninput(Number(control.value));
  });
  show();
  const head = el(
    "div",
    { class: "w-range-head" },
    el("label", { for: id }, label),
    output,
  );
  return {
    control,
    show,
    node: el("div", { class: "w-field w-range" }, head, control),
  };
}

export function tick(label, checked, onchange) {
  const control = el("input", { type: "checkbox", checked });
  control.addEventListener("change", () => onchange(control.checked));
  return {
    control,
    node: el("label", { class: "w-tick" }, control, el("span", {}, label)),
  };
}

// rows: lists of words; the first is the head; the first of each row names it.
export function table(caption, [head, ...rows]) {
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        head.map((one) => el("th", { scope: "col" }, one)),
      ),
    ),
    el(
      "tbody",
      {},
      rows.map(([name, ...cells]) =>
        el(
          "tr",
          {},
          el("th", { scope: "row" }, name),
          cells.map((one) => el("td", {}, one)),
        ),
      ),
    ),
  );
}
