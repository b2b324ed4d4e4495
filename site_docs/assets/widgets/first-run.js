// <first-run>: a terminal that types command one and shows what our captured run printed.
// Command and screen stand in the page, for readers without JavaScript: nothing is fetched.
import { play, written } from "./first-run.model.js";
import { Widget } from "./frame.js";
import { button, choose, el, still } from "./parts.js";

const TICK_MS = 50;
const SPEEDS = [
  [1, "as it was"],
  [8, "8 times as fast"],
];
const SYSTEMS = { sh: "Linux, macOS", PowerShell: "Windows (PowerShell)" };
const HOW =
  "The lines are the run's own, and appear when the seconds that it printed at its end say so. " +
  "A bar's two ends are recorded; between them it is drawn evenly. Typing is the player's, and " +
  "so is the moment in which pip works.";

class FirstRun extends Widget {
  story = { heading: "Command one, as it runs" };

  async prepare() {
    const commands = [...this.querySelectorAll("[data-shell]")];
    this.commands = new Map(
      commands.map((one) => [one.dataset.shell, one.textContent.trim()]),
    );
    this.printed = this.querySelector(".f-printed").textContent.replace(/^\n/, "");
    this.origin = this.querySelector(".f-origin");
    const isWindows = navigator.userAgent.includes("Windows");
    this.shell = isWindows ? "PowerShell" : "sh";
    this.speed = 1;
    this.wants = !still(); // to go on, as soon as it can be seen
    this.#load();
    this.time = still() ? this.run.ends : 0;
  }

  async connectedCallback() {
    if (this.begun) return;
    await super.connectedCallback();
    if (!this.run) return;
    const look = ([entry]) => {
      this.isSeen = entry.isIntersecting;
      this.#next();
    };
    new IntersectionObserver(look, { threshold: 0.3 }).observe(this.screen);
    document.addEventListener("visibilitychange", () => this.#next());
  }

  #load() {
    this.run = play(this.commands.get(this.shell), this.printed);
  }

  // --- The frame -------------------------------------------------------------------

  frame(head) {
    this.main = button("Play", () => this.#press(), { main: true });
    const end = button("To the end", () => this.#jump(this.run.ends));
    const speed = choose("Speed", SPEEDS, this.speed, (one) => (this.speed = Number(one)));
    const shells = [...this.commands.keys()].map((one) => [one, SYSTEMS[one] ?? one]);
    const shell = choose("Command for", shells, this.shell, (one) => this.#change(one));
    this.seen = el("p", { class: "w-sentence", "aria-hidden": "true" });
    // WHY its end only: a screen reader would read every line of half a minute.
    this.live = el("p", { class: "w-live", role: "status", "aria-live": "polite" });
    this.code = el("code");
    const region = { class: "f-screen", tabindex: 0, role: "region" };
    this.screen = el("pre", { ...region, "aria-label": "Terminal" }, this.code);
    this.#lay();
    const controls = { class: "w-controls", role: "group", "aria-label": "Controls" };
    const motion = still() ? [] : [this.main, end, speed.node];
    return [
      head,
      el("div", controls, motion, shell.node),
      this.seen,
      this.live,
      this.screen,
      this.origin,
      el("p", { class: "w-caption" }, HOW),
    ];
  }

  // Every line keeps its place from the start: what is not yet written is invisible.
  #lay() {
    this.lines = this.run.lines.map((line, number) => {
      const said = el("span");
      const rest = el("span", { class: "f-rest", "aria-hidden": "true" });
      const cls = number === 0 ? "f-command" : "f-line";
      return { line, said, rest, node: el("span", { class: cls }, said, rest, "\n") };
    });
    this.code.replaceChildren(...this.lines.map(({ node }) => node));
  }

  // --- Running ---------------------------------------------------------------------

  #press() {
    if (this.time >= this.run.ends) {
      this.time = 0;
      this.wants = true;
    } else this.wants = !this.wants;
    this.show();
    this.#next();
  }

  #jump(time) {
    this.time = time;
    this.wants = false;
    this.show();
    this.#next();
  }

  #change(shell) {
    // The same moment of the run, whose command is a little longer or shorter.
    const left = this.run.ends - this.time;
    this.shell = shell;
    this.#load();
    this.time = Math.max(0, this.run.ends - left);
    this.#lay();
    this.show({ aloud: false });
  }

  #next() {
    const goes =
      this.wants && this.isSeen && !document.hidden && this.time < this.run.ends;
    if (goes === Boolean(this.clock)) return;
    clearInterval(this.clock);
    this.clock = null;
    if (!goes) return;
    let before = performance.now();
    this.clock = setInterval(() => {
      const now = performance.now();
      this.time = Math.min(
        this.run.ends,
        this.time + (this.speed * (now - before)) / 1000,
      );
      before = now;
      const isOver = this.time >= this.run.ends;
      if (isOver) this.wants = false;
      this.show({ aloud: isOver });
      if (isOver) this.#next();
    }, TICK_MS);
  }

  // --- What is shown ------------------------------------------------------------------

  show({ aloud = true } = {}) {
    for (const { line, said, rest } of this.lines) {
      const words = written(line, this.time);
      // WHY only what differs: a reader may have selected the lines above.
      if (said.textContent === words && this.isShown) continue;
      said.textContent = words;
      rest.textContent = line.name && words ? "" : line.text.slice(words.length);
    }
    this.isShown = true;
    const sentence = this.sentence();
    if (this.seen.textContent !== sentence) this.seen.textContent = sentence;
    if (aloud) this.live.textContent = sentence;
    const isOver = this.time >= this.run.ends;
    this.main.textContent = isOver ? "Play again" : this.wants ? "Pause" : "Play";
    this.dataset.shellShown = this.shell;
    this.dataset.state = isOver ? "done" : this.wants ? "running" : "paused";
    this.dataset.time = this.time.toFixed(2);
  }

  sentence() {
    return this.run.stages.findLast(({ from }) => from <= this.time + 1e-9).words;
  }
}

customElements.define("first-run", FirstRun);
