// What all widgets share: a heading, a question to answer first, controls, a figure
// that fits its width, one live sentence, what to notice, and a table that says the same.
//
// The element's children are what readers without JavaScript see. They are replaced
// only once everything that the widget needs has arrived.

const SVG = "http://www.w3.org/2000/svg";
let count = 0;

// A name that no other part of the page has.
function fresh() {
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
  node.append(...children.flat().filter((child) => child != null && child !== false));
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

export async function load(name) {
  const answer = await fetch(new URL(`data/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
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
  const node = el("div", { class: "w-field" }, el("label", { for: id }, label), control);
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
  const head = el("div", { class: "w-range-head" }, el("label", { for: id }, label), output);
  return { control, show, node: el("div", { class: "w-field w-range" }, head, control) };
}

export function tick(label, checked, onchange) {
  const control = el("input", { type: "checkbox", checked });
  control.addEventListener("change", () => onchange(control.checked));
  return { control, node: el("label", { class: "w-tick" }, control, el("span", {}, label)) };
}

// rows: lists of words; the first is the head; the first of each row names it.
export function table(caption, [head, ...rows]) {
  return el(
    "table",
    {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, head.map((one) => el("th", { scope: "col" }, one)))),
    el(
      "tbody",
      {},
      rows.map(([name, ...cells]) =>
        el("tr", {}, el("th", { scope: "row" }, name), cells.map((one) => el("td", {}, one))),
      ),
    ),
  );
}

export class Widget extends HTMLElement {
  // --- What each widget says -------------------------------------------------------

  // heading, picture, caption: words; question: { ask, options, right, answer }; notice: sentences.
  story = {};
  // Reads files; must be done before anything is shown.
  async prepare() {}
  // Controls, as a list of nodes.
  controls() {
    return [];
  }
  // The figure for so many pixels.
  draw(_width) {
    return svg("svg");
  }
  // The same in words: a table element.
  words() {
    return table("", [[""]]);
  }
  // One short sentence on what is shown.
  sentence() {
    return "";
  }

  // --- What all do alike -----------------------------------------------------------

  async connectedCallback() {
    if (this.begun) return; // moved within the page
    this.begun = true;
    this.name = fresh();
    try {
      await this.prepare();
    } catch (problem) {
      console.warn(`${this.localName} stays a picture:`, problem);
      return;
    }
    this.replaceChildren(this.#frame());
    this.#watch();
    this.show({ aloud: false });
    this.setAttribute("ready", "");
  }

  // Draws everything anew; says the sentence unless the reader should be left in peace.
  show({ aloud = true } = {}) {
    this.redraw();
    const words = this.sentence();
    this.seen.textContent = words;
    if (aloud) this.live.textContent = words;
    const place = this.tablePlace;
    if (place.closest("details").open) place.replaceChildren(this.words());
  }

  // Draws the figure anew, and nothing else.
  redraw() {
    const drawn = this.draw(this.width);
    drawn.setAttribute("role", "img");
    drawn.setAttribute("aria-label", `${this.story.picture} ${this.sentence()}`);
    this.figure.replaceChildren(drawn);
  }

  // An SVG root of that size.
  sheet(width, height, ...children) {
    const size = { width, height, viewBox: `0 0 ${width} ${height}`, class: "w-svg" };
    return svg("svg", size, ...children);
  }

  #frame() {
    const { heading, question, caption, notice } = this.story;
    const id = `${this.name}-title`;
    this.figure = el("div", { class: "w-figure" });
    this.seen = el("p", { class: "w-sentence", "aria-hidden": "true" });
    // WHY two: during play the picture's sentence changes, a screen reader's does not.
    this.live = el("p", { class: "w-live", role: "status", "aria-live": "polite" });
    this.tablePlace = el("div", {
      class: "w-scroll",
      tabindex: 0,
      role: "region",
      "aria-label": `${heading}: table`,
    });
    const details = el(
      "details",
      { class: "w-details" },
      el("summary", {}, "The same as a table"),
      this.tablePlace,
    );
    details.addEventListener("toggle", () => {
      if (details.open) this.tablePlace.replaceChildren(this.words());
    });
    const controls = { class: "w-controls", role: "group", "aria-label": "Controls" };
    return el(
      "section",
      { class: "w-frame", "aria-labelledby": id },
      this.#heading(id, heading),
      question ? this.#quiz(question) : null,
      el("div", controls, this.controls()),
      this.seen,
      this.live,
      this.figure,
      caption ? el("p", { class: "w-caption" }, caption) : null,
      this.#notice(notice),
      details,
    );
  }

  // WHY from the page: a heading must not skip a level, wherever the widget stands.
  #heading(id, words) {
    let level = 1;
    for (const one of document.querySelectorAll("h1, h2, h3, h4, h5")) {
      const before = one.compareDocumentPosition(this) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (before && !one.closest("nav, header, .w-frame")) level = Number(one.localName[1]);
    }
    return el(`h${level + 1}`, { class: "w-title", id }, words);
  }

  #notice(notice) {
    if (!notice) return null;
    const items = notice.map((one) => el("li", {}, one));
    const head = el("p", { class: "w-notice-head" }, "What to notice");
    return el("div", { class: "w-notice" }, head, el("ul", {}, items));
  }

  #quiz({ ask, options, right, answer }) {
    const group = `${this.name}-answer`;
    const told = el("p", { class: "w-answer", role: "status", "aria-live": "polite" });
    const reveal = (opening) => {
      const words = typeof answer === "function" ? answer.call(this) : answer;
      told.replaceChildren(el("strong", {}, opening), ` ${words}`);
      form.classList.add("w-revealed");
    };
    const check = () => {
      const chosen = form.querySelector("input:checked");
      if (!chosen) told.textContent = "Choose an answer, or let it be shown.";
      else reveal(Number(chosen.value) === right ? "Right." : "Not quite.");
    };
    const form = el(
      "form",
      {
        class: "w-quiz",
        onsubmit: (event) => {
          event.preventDefault();
          check();
        },
      },
      el(
        "fieldset",
        {},
        el("legend", {}, el("strong", {}, "Predict first. "), ask),
        el(
          "div",
          { class: "w-options" },
          options.map((words, value) =>
            el(
              "label",
              { class: "w-option" },
              el("input", { type: "radio", name: group, value }),
              el("span", {}, words),
            ),
          ),
        ),
      ),
      el(
        "div",
        { class: "w-buttons" },
        el("button", { type: "submit", class: "w-button" }, "Check my answer"),
        button("Show me", () => reveal("Answer.")),
      ),
      told,
    );
    return form;
  }

  #watch() {
    const measure = () => Math.max(240, Math.floor(this.figure.clientWidth));
    this.width = measure();
    new ResizeObserver(() => {
      const now = measure();
      if (now === this.width) return;
      this.width = now;
      this.redraw();
    }).observe(this.figure);
  }
}
