// <match-box>: paste a traceback, get the entry that fits. Nothing leaves the page.
import { match, SHOWN_CHARACTERS as SHOWN, sure } from "./match.model.js";
import { load, Widget } from "./frame.js";
import { button, el } from "./parts.js";

const EXAMPLE = `Traceback (most recent call last):
  File "train.py", line 41, in <module>
    loss.backward()
RuntimeError: Expected to have finished reduction in the prior iteration before starting a
new one. This error indicates that your module has parameters that were not used in
producing loss. Parameter indices which did not receive grad for rank 1: 2 3`;
const PAGE = new URL("../../troubleshooting/", import.meta.url);

class MatchBox extends Widget {
  story = { heading: "Find your trouble by its traceback" };

  async prepare() {
    this.catalogue = await load("troubles.json");
    this.found = null; // nothing was asked yet
  }

  frame(head) {
    const id = `${this.name}-text`;
    this.box = el("textarea", {
      id,
      rows: 7,
      spellcheck: "false",
      autocomplete: "off",
      "aria-describedby": `${id}-note`,
      placeholder: "Traceback (most recent call last): ...",
    });
    this.live = el("p", {
      class: "w-sentence w-found",
      role: "status",
      "aria-live": "polite",
    });
    this.answers = el("div", { class: "w-answers" });
    return [
      head,
      el(
        "p",
        {},
        el(
          "label",
          { for: id },
          "Paste a traceback, a log, or a sentence about what is wrong:",
        ),
      ),
      this.box,
      el(
        "p",
        { class: "w-caption", id: `${id}-note` },
        `It is compared with ${this.catalogue.troubles.length} classic troubles of DDP and the ` +
          "library's own errors, in your browser: nothing you paste is sent or stored.",
      ),
      el(
        "div",
        { class: "w-controls" },
        button("Find the trouble", () => this.#find(), { main: true }),
        button("Paste an example", () => {
          this.box.value = EXAMPLE;
          this.#find();
        }),
        button("Reset", () => {
          this.box.value = "";
          this.found = null;
          this.show();
          this.box.focus();
        }),
      ),
      this.live,
      this.answers,
    ];
  }

  #find() {
    this.found = this.box.value.trim() ? match(this.box.value, this.catalogue) : [];
    this.show();
  }

  show() {
    this.live.textContent = this.sentence();
    this.answers.replaceChildren(...this.#answers());
  }

  sentence() {
    if (this.found === null) return "";
    if (!this.box.value.trim()) return "Paste something first.";
    if (this.found.length === 0) return "Nothing in the catalogue matches this text.";
    const [best, ...others] = this.found;
    const more = others.length ? ` ${others.length} less likely below it.` : "";
    return `Found: ${best.entry.title} (${sure(best.weight)}).${more}`;
  }

  #answers() {
    if (!this.found) return [];
    if (!this.found.length) {
      const hint =
        "Paste the whole traceback, from the first line of the rank that failed first. If it " +
        "was whole: this trouble is not a known one of DDP.";
      return this.box.value.trim() ? [el("p", {}, hint)] : [];
    }
    const [best, ...others] = this.found;
    return [
      this.#entry(best),
      others.length > 0 &&
        el(
          "p",
          {},
          "Less likely: ",
          others
            .slice(0, 4)
            .flatMap(({ entry, weight }, i) => [
              i ? ", " : "",
              link(entry.slug, entry.title),
              ` (${sure(weight)})`,
            ]),
          ".",
        ),
    ].filter(Boolean);
  }

  #entry({ entry, weight, reason }) {
    const parts = [
      ["Found by", el("code", {}, reason.length < SHOWN ? reason : `${reason} ...`)],
      ["Cause", coded(entry.cause)],
      ["Cure", coded(entry.cure)],
      ["Prevention", coded(entry.prevention)],
      [
        "Try it",
        entry.lab && el("code", {}, `python -m distrinews lab run ${entry.lab}`),
      ],
      ["Read on", link(entry.slug, "the whole entry")],
    ];
    return el(
      "div",
      { class: "w-entry" },
      el(
        "p",
        { class: "w-entry-title" },
        link(entry.slug, entry.title),
        ` (${sure(weight)}, ${weight} of 100)`,
      ),
      el(
        "dl",
        {},
        parts
          .filter(([, what]) => what)
          .map(([name, what]) => [el("dt", {}, name), el("dd", {}, what)]),
      ),
    );
  }
}

function link(slug, words) {
  return el("a", { href: `${PAGE.href}#${slug}` }, words);
}

// Text with `code` and *stressed words* in it.
function coded(words) {
  if (!words) return null;
  return words
    .split("`")
    .map((one, i) =>
      i % 2
        ? el("code", {}, one)
        : one.split("*").map((part, k) => (k % 2 ? el("em", {}, part) : part)),
    );
}

customElements.define("match-box", MatchBox);
