// What all widgets share: a heading, a question to answer first, controls, a figure
// that fits its width, one live sentence, what to notice, and a table that says the same.
//
// The element's children are what readers without JavaScript see. They are replaced
// only once everything that the widget needs has arrived.

import { button, el, fresh, svg, table } from "./parts.js";

export async function load(name) {
  const answer = await fetch(new URL(`data/${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  return answer.json();
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
  // The figure that stands in the page without JavaScript.
  picture(width) {
    return this.draw(width);
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
    const id = `${this.name}-title`;
    const head = this.#heading(id, this.story.heading);
    const frame = { class: "w-frame", "aria-labelledby": id };
    this.replaceChildren(el("section", frame, this.frame(head)));
    if (this.figure) this.#watch();
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

  // Everything in the frame, in order.
  frame(head) {
    const { question, caption, notice } = this.story;
    const details = this.parts();
    const controls = { class: "w-controls", role: "group", "aria-label": "Controls" };
    const cover = veil(
      el("div", controls, this.controls()),
      this.seen,
      this.figure,
      el("p", { class: "w-caption" }, caption),
      this.#notice(notice),
      details,
    );
    cover.set(true);
    return [head, quiz(question, () => cover.set(false)), this.live, cover.node];
  }

  // Makes what `show` fills: figure, sentences, and the table, whose details it returns.
  parts() {
    this.figure = el("div", { class: "w-figure" });
    this.seen = el("p", { class: "w-sentence", "aria-hidden": "true" });
    // WHY two: during play the picture's sentence changes, a screen reader's does not.
    this.live = el("p", { class: "w-live", role: "status", "aria-live": "polite" });
    this.tablePlace = el("div", {
      class: "w-scroll",
      tabindex: 0,
      role: "region",
      "aria-label": `${this.story.heading}: table`,
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
    return details;
  }

  // WHY from the page: a heading must not skip a level, wherever the widget stands.
  #heading(id, words) {
    let level = 1;
    for (const one of document.querySelectorAll("h1, h2, h3, h4, h5")) {
      const before =
        one.compareDocumentPosition(this) & Node.DOCUMENT_POSITION_FOLLOWING;
      if (before && !one.closest("nav, header, .w-frame"))
        level = Number(one.localName[1]);
    }
    return el(`h${level + 1}`, { class: "w-title", id }, words);
  }

  #notice(notice) {
    const items = notice.map((one) => el("li", {}, one));
    const head = el("p", { class: "w-notice-head" }, "What to notice");
    return el("div", { class: "w-notice" }, head, el("ul", {}, items));
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

// A question to answer first: told(words) says what came of it, reveal() lifts a veil.
export function quiz({ ask, options, right, answer }, onreveal) {
  const told = el("p", { class: "w-answer", role: "status", "aria-live": "polite" });
  const reveal = (opening) => {
    told.replaceChildren(el("strong", {}, opening), ` ${answer}`);
    onreveal();
  };
  const check = () => {
    const chosen = form.querySelector("input:checked");
    if (!chosen) told.textContent = "Choose an answer, or let it be shown.";
    else reveal(Number(chosen.value) === right ? "Right." : "Not quite.");
  };
  const group = fresh();
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

// What may be seen only after an answer: it keeps its place, but nobody can read or reach it.
export function veil(...covered) {
  const words = "Answer first: the figure shows what happens, and would tell you.";
  const inside = el("div", { class: "w-covered" }, covered);
  const node = el(
    "div",
    { class: "w-cover" },
    el("p", { class: "w-cover-note" }, words),
    inside,
  );
  const set = (isVeiled) => {
    node.classList.toggle("w-veiled", isVeiled);
    inside.inert = isVeiled;
  };
  return { node, set };
}
