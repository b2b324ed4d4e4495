// Influence of each word: leave it out and classify the rest. Exact for this text and this
// model; it does not show words that matter only together.

const MAX_WORDS = 64; // one request per word
const MAX_CHARACTERS = 2000; // every answer reads the whole remaining text
const LETTER = /[\p{L}\p{N}]/u; // a text without any has no answer
const FULL_TINT = 0.1; // if no word changes the probability by this much, tints stay pale

export class Words {
  constructor(section, engine) {
    this.section = section;
    this.engine = engine;
    this.toolbar = section.querySelector("[role=toolbar]");
    this.line = section.querySelector("#without");
    this.toolbar.addEventListener("keydown", (event) => this.move(event));
  }

  hide() {
    this.section.hidden = true;
  }

  // Keep the previous text's words, pale, until the new ones are known.
  fade() {
    this.section.classList.add("old");
  }

  async show(typed, answer, signal) {
    const parts = splitWords(typed);
    const asked = parts.filter(({ rest }) => LETTER.test(rest));
    const isLong = parts.length > MAX_WORDS || typed.length > MAX_CHARACTERS;
    if (asked.length < 2 || isLong) return this.hide();
    let answers;
    try {
      answers = await this.engine.askAll(asked.map(({ rest }) => rest), signal);
    } catch {
      // No message: the text itself has its answer, and a busy service needs no second try.
      if (!signal.aborted) this.hide();
      return;
    }
    if (signal.aborted) return;
    asked.forEach((part, index) => {
      part.without = answers[index];
      part.influence = part.without
        ? answer.scores[answer.label] - part.without.scores[answer.label] : 0;
    });
    this.draw(parts, answer);
  }

  draw(parts, answer) {
    const strength = ({ influence = 0 }) => Math.abs(influence);
    const strongest = parts.reduce((a, b) => (strength(b) > strength(a) ? b : a));
    const full = Math.max(FULL_TINT, strength(strongest));
    this.toolbar.replaceChildren(...parts.flatMap((part) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = part.word;
      button.tabIndex = part === strongest ? 0 : -1;
      button.className = (part.influence ?? 0) < 0 ? "against" : "for";
      button.style.setProperty("--weight", strength(part) / full);
      const tell = () => { this.line.textContent = sentence(part, answer); };
      for (const kind of ["focus", "click", "mouseenter"]) button.addEventListener(kind, tell);
      return [button, " "];
    }));
    this.line.textContent = sentence(strongest, answer);
    this.section.classList.remove("old");
    this.section.hidden = false;
  }

  // One stop of the Tab key for all words; the arrow keys move among them.
  move(event) {
    const buttons = [...this.toolbar.children];
    const here = buttons.indexOf(document.activeElement);
    const last = buttons.length - 1;
    const there = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: last }[event.key];
    if (there === undefined || !buttons[there]) return;
    event.preventDefault();
    buttons[here].tabIndex = -1;
    buttons[there].tabIndex = 0;
    buttons[there].focus();
  }
}

// Each word, and the text without it and without the spaces after it.
function splitWords(typed) {
  return [...typed.matchAll(/\S+/g)].map(({ 0: word, index }) => ({
    word,
    rest: typed.slice(0, index) + typed.slice(index + word.length).trimStart(),
  }));
}

function sentence({ word, without }, { label, scores }) {
  if (!without) return `Without “${word}” there is no answer.`;
  const flipped = without.label === label ? ""
    : `; the answer would be ${without.label} ${without.scores[without.label].toFixed(2)}`;
  const now = scores[label].toFixed(2);
  return `Without “${word}”: ${label} ${without.scores[label].toFixed(2)}`
    + ` (with it ${now})${flipped}.`;
}
