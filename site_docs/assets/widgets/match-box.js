// <match-box>: type or paste, and see the entries that fit. Nothing leaves the page.
// Its list of all entries stands in the page; the box and the chips filter it.
import { match, SHOWN_CHARACTERS as SHOWN, sure } from "./match.model.js";
import { finder } from "./nearest.model.js";
import { load, Widget } from "./frame.js";
import { button, el } from "./parts.js";

const TYPING_MS = 120; // a pause after which the answer is renewed
const MAX_FILTER_WORDS = 8; // more is a pasted text, and no entry holds all its words

class MatchBox extends Widget {
  story = { heading: "Find your trouble" };
  found = null; // [{ entry, how, reason }], the best first; null: nothing was asked
  chosen = { family: "", platform: "" };

  async prepare() {
    this.catalogue = await load("troubles.json");
    this.nearest = finder(this.catalogue);
    const entries = [...this.catalogue.troubles, ...this.catalogue.own];
    this.texts = entries.map((entry) => [entry, words(entry)]);
    // Without a list, as in a preview, the box answers all the same.
    this.list = this.querySelector(".t-list") ?? el("div", { class: "t-list" });
    this.rows = new Map(
      [...this.list.querySelectorAll(".t-row")].map((row) => [row.id, row]),
    );
  }

  frame(head) {
    head.classList.add("w-live"); // for the outline and for screen readers
    const id = `${this.name}-text`;
    this.box = el("textarea", {
      id,
      rows: 2,
      spellcheck: "false",
      autocomplete: "off",
      autocapitalize: "off",
      "aria-describedby": `${id}-note`,
      placeholder: "training hangs after validation",
      oninput: () => this.#wait(),
    });
    this.live = el("p", {
      class: "w-sentence w-found",
      role: "status",
      "aria-live": "polite",
    });
    this.answers = el("div", { class: "t-answers" });
    this.clear = button("Clear", () => this.#clear());
    this.clear.className = "t-chip t-clear";
    const families = [...this.list.querySelectorAll(".t-family")].map((family) => {
      const name = family.querySelector("h2").textContent.split(" ")[0].replace(":", "");
      return this.#chip("family", family.dataset.family, name);
    });
    const platforms = ["Windows", "Kaggle"].map((one) => this.#chip("platform", one, one));
    this.chips = [...families, ...platforms];
    return [
      head,
      el("label", { class: "t-label", for: id }, "What does your program say or do?"),
      this.box,
      el(
        "p",
        { class: "w-caption", id: `${id}-note` },
        `Paste a whole traceback, or type a few words. They are compared with ${this.texts.length} ` +
          "entries in your browser; nothing is sent or stored.",
      ),
      group("Only this family", families),
      group("Only this platform", platforms, this.clear),
      this.live,
      this.answers,
      this.list,
    ];
  }

  #chip(kind, value, name) {
    const chip = { kind, value, name };
    chip.count = el("span", { class: "t-count" });
    chip.node = button(name, () => {
      this.chosen[kind] = this.chosen[kind] === value ? "" : value;
      this.show();
    });
    chip.node.className = "t-chip";
    chip.node.append(chip.count);
    return chip;
  }

  #wait() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#find(), TYPING_MS);
  }

  #clear() {
    this.box.value = "";
    this.chosen = { family: "", platform: "" };
    this.#find();
    this.box.focus();
  }

  #find() {
    clearTimeout(this.timer);
    const text = this.box.value.trim();
    this.found = text.length > 1 ? this.#ranked(text) : null;
    this.show();
  }

  // What a rule knows; else what is nearest by its words; then what holds all words.
  #ranked(text) {
    const found = match(text, this.catalogue).map(({ entry, weight, reason }) => ({
      entry,
      how: sure(weight),
      reason,
    }));
    if (found.length === 0)
      found.push(...this.nearest(text).map((entry) => ({ entry, how: "perhaps" })));
    const there = new Set(found.map(({ entry }) => entry));
    const typed = text.toLowerCase().split(/\s+/);
    if (typed.length <= MAX_FILTER_WORDS)
      for (const [entry, held] of this.texts)
        if (!there.has(entry) && typed.every((one) => held.includes(one)))
          found.push({ entry, how: "" });
    return found;
  }

  // --- What is shown ------------------------------------------------------------------

  show() {
    const asked = this.found !== null;
    const passes = (row, { family, platform }) =>
      (!family || row?.closest("[data-family]").dataset.family === family) &&
      (!platform || row?.dataset.platforms?.split(" ").includes(platform));
    const all = asked
      ? this.found.map(({ entry }) => this.rows.get(entry.slug))
      : [...this.rows.values()];
    this.shown = asked
      ? this.found.filter(({ entry }) => passes(this.rows.get(entry.slug), this.chosen))
      : all.filter((row) => passes(row, this.chosen));
    for (const { kind, value, node, count } of this.chips) {
      // What pressing the chip would show.
      const chosen = { ...this.chosen, [kind]: value };
      count.textContent = all.filter((row) => passes(row, chosen)).length;
      node.classList.toggle("t-none", count.textContent === "0");
      node.setAttribute("aria-pressed", String(this.chosen[kind] === value));
    }
    const { family, platform } = this.chosen;
    this.clear.hidden = !this.box.value && !family && !platform;
    this.list.hidden = asked;
    this.answers.hidden = !asked;
    if (asked) this.answers.replaceChildren(...this.#answers());
    else this.#filterList();
    const words = this.sentence();
    if (this.live.textContent !== words) this.live.textContent = words;
  }

  #filterList() {
    const shown = new Set(this.shown);
    for (const row of this.rows.values()) row.hidden = !shown.has(row);
    for (const family of this.list.querySelectorAll(".t-family"))
      family.hidden = !family.querySelector(".t-row:not([hidden])");
  }

  sentence() {
    const { family, platform } = this.chosen;
    if (!this.found)
      return family || platform ? `${entries(this.shown.length)} shown.` : "";
    if (!this.found.length) return "Nothing in the catalogue matches this text.";
    if (!this.shown.length)
      return `Nothing under this chip; ${entries(this.found.length)} without it.`;
    const [best, ...others] = this.shown;
    const more = others.length ? ` ${others.length} more below it.` : "";
    if (best.how === "perhaps")
      return `No rule matches. The nearest by its words: ${best.entry.title}.${more}`;
    if (!best.how) return `${entries(this.shown.length)} with these words.`;
    return `Found: ${best.entry.title} (${best.how}).${more}`;
  }

  #answers() {
    if (!this.found.length)
      return [
        el(
          "p",
          {},
          "Paste the whole traceback, from the first line of the rank that failed first, or try " +
            "other words.",
        ),
      ];
    // Only a trouble has more to tell than its line.
    const [best] = this.shown;
    const open = best?.how && best.entry.patterns ? [this.#card(best)] : [];
    const others = this.shown.slice(open.length);
    return [
      ...open,
      others.length > 0 && el("ul", {}, others.map((one) => this.#row(one))),
    ].filter(Boolean);
  }

  // The entry's line in the list, with a word on how sure it is.
  #row({ entry, how }) {
    const row = this.rows.get(entry.slug)?.cloneNode(true);
    if (!row) return el("li", { class: "t-row" }, entry.title);
    row.removeAttribute("id");
    row.hidden = false;
    if (how) row.querySelector("a").after(badge(how));
    return row;
  }

  #card({ entry, how, reason }) {
    const href = this.rows.get(entry.slug)?.querySelector("a").href;
    const lab = entry.lab && `python -m distrinews lab run ${entry.lab}`;
    const parts = [
      ["Symptom", coded(entry.symptom)],
      ["Found by", reason && !entry.symptom.includes(reason) && el("code", {}, cut(reason))],
      ["Cure", coded(entry.cure)],
      ["Why", coded(entry.cause)],
      ["Next time", coded(entry.prevention)],
      ["Try it", lab && el("code", {}, lab)],
    ];
    return el(
      "div",
      { class: "w-entry" },
      el("p", { class: "w-entry-title" }, el("a", { href }, coded(entry.title)), badge(how)),
      el(
        "dl",
        {},
        parts
          .filter(([, what]) => what)
          .map(([name, what]) => [el("dt", {}, name), el("dd", {}, what)]),
      ),
      el(
        "p",
        { class: "t-more" },
        el("a", { href }, "The whole entry: what a run prints, and sources"),
      ),
    );
  }
}

const group = (label, chips, ...others) =>
  el(
    "div",
    { class: "t-chips", role: "group", "aria-label": label },
    chips.map(({ node }) => node),
    others,
  );
const badge = (how) => el("span", { class: "t-badge" }, how);
const entries = (count) => (count === 1 ? "1 entry" : `${count} entries`);
const cut = (reason) => (reason.length < SHOWN ? reason : `${reason} ...`);

// Everything that an entry says, to look for typed words in.
function words(entry) {
  const names = ["slug", "title", "about", "symptom", "also", "cause", "cure"];
  return [...names, "prevention"]
    .map((name) => entry[name] ?? "")
    .join(" ")
    .toLowerCase();
}

// Text with `code` and *stressed words* in it.
function coded(text) {
  if (!text) return null;
  return text
    .split("`")
    .map((one, i) =>
      i % 2
        ? el("code", {}, one)
        : one.split("*").map((part, k) => (k % 2 ? el("em", {}, part) : part)),
    );
}

customElements.define("match-box", MatchBox);
