// Two games with the model's certainty. Scores are kept while the page is open.

const TIE_POINTS = 1; // a smaller lead counts as a tie

export class Games {
  constructor(section, onFixed) {
    this.tie = section.querySelector("#tie");
    this.flip = section.querySelector("#flip");
    this.smallestLead = Infinity;
    this.fixed = null; // {text, label, fewest}
    section.querySelector("#fix").addEventListener("click", () => {
      this.fix();
      onFixed();
    });
  }

  // Called for each answer.
  follow(text, answer) {
    const ranked = Object.entries(answer.scores).sort(([, one], [, other]) => other - one);
    if (ranked.length < 2) return; // a single class leaves nothing to play
    this.last = { text, label: answer.label };
    const [[first, high], [second, low]] = ranked;
    const lead = 100 * (high - low);
    this.smallestLead = Math.min(this.smallestLead, lead);
    this.tie.textContent = (lead < TIE_POINTS ? "A tie! " : "")
      + `${first} leads ${second} by ${lead.toFixed(1)} points;`
      + ` the smallest lead so far is ${this.smallestLead.toFixed(1)}.`;
    this.tellFlip();
  }

  fix() {
    if (this.last) this.fixed = { ...this.last, fewest: Infinity };
    this.tellFlip();
  }

  tellFlip() {
    if (!this.fixed) {
      this.flip.textContent = this.last ? "" : "Classify a text first.";
      return;
    }
    const { text, label } = this.fixed;
    const head = `Fixed: “${text}” (${label}). `;
    if (!this.last.text.includes(text)) {
      this.flip.textContent = `${head}Leave it unchanged: write before or after it.`;
    } else if (this.last.label === label) {
      this.flip.textContent = `${head}Still ${label}.`;
    } else {
      const added = [...this.last.text.replace(text, "").trim()].length;
      this.fixed.fewest = Math.min(this.fixed.fewest, added);
      this.flip.textContent = `${head}${this.last.label}, with ${added} characters added!`
        + ` Fewest so far: ${this.fixed.fewest}.`;
    }
  }
}
