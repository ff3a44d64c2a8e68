// What was measured of the runs, and the charts that are offered beside the usual ones: a list of boxes to check.

import { soft } from "./parts.js";

const AGAIN_MS = 1500;

export class Offers {
  #app;
  #listed = null;
  #again = 0;

  constructor(app) {
    this.#app = app;
  }

  // Have what was measured, again and again while the runs are being measured.
  async load() {
    const { charts, marks, tokens, runs, state, index } = this.#app;
    for (const run of runs) {
      try {
        await run.measured(state.charts);
      } catch (error) {
        run.charts.failure = error.message;
      }
    }
    charts.use(runs, state.charts);
    this.#wait();
    this.#list();
    marks.draw(runs);
    tokens.events.list();
    this.#app.redraw();
    clearTimeout(this.#again);
    if (index.served && runs.some((run) => run.charts.measuring !== null)) this.#again = setTimeout(() => this.load(), AGAIN_MS);
  }

  // While there is no chart yet, say why.
  #wait() {
    const { runs } = this.#app;
    const note = document.getElementById("no-charts");
    note.hidden = runs.some((run) => run.charts.charts.length);
    note.textContent = runs.some((run) => run.charts.measuring) ? "The runs are being measured: loss, radius, displacement and events come here."
      : "Nothing was measured that changes over the steps.";
  }

  // Other charts than before are to be shown beside the usual ones.
  async chose() {
    const { charts, runs, state } = this.#app;
    try {
      for (const run of runs) await run.bring(state.charts);
    } catch (error) {
      this.#app.failed(error);
    }
    charts.use(runs, state.charts);
    this.#list();
    this.#app.redraw();
    this.#app.remember();
  }

  // List them anew, where they are others than before: a list that is made anew loses the focus.
  #list() {
    const { runs, state, index } = this.#app;
    const offered = new Map(runs.flatMap((run) => run.charts.offered.map((one) => [one.name, one])));
    const waiting = runs.filter((run) => run.charts.waits && run.charts.measuring === null);
    const measuring = runs.some((run) => run.charts.measuring !== null);
    const now = JSON.stringify([[...offered.keys()], state.charts, waiting.length, measuring]);
    if (now === this.#listed) return;
    this.#listed = now;
    const box = document.getElementById("offers");
    box.replaceChildren();
    for (const { name, title, unit } of offered.values()) box.append(this.#choice(name, unit ? `${title}, ${unit}` : title));
    if (measuring) box.append(soft("The runs are being measured. What is found then can be shown along the slider, too."));
    else if (waiting.length && index.served) box.append(...this.#begin(waiting));
    else if (!offered.size) box.append(soft("This page has no further ones."));
  }

  #choice(name, words) {
    const { state } = this.#app;
    const label = document.createElement("label");
    const check = document.createElement("input");
    check.type = "checkbox";
    check.value = name;
    check.checked = state.charts.includes(name);
    check.addEventListener("change", () => {
      const others = state.charts.filter((one) => one !== name);
      state.charts = check.checked ? [name, ...others] : others;
      this.chose();
    });
    label.append(check, ` ${words}`);
    return label;
  }

  // Of vast runs nothing is measured by itself.
  #begin(runs) {
    const numbers = runs.reduce((sum, run) => sum + run.charts.waits, 0);
    const button = document.createElement("button");
    button.type = "button";
    button.id = "measure";
    button.textContent = "Measure";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        for (const run of runs) await run.tell("measure.json");
      } catch (error) {
        this.#app.failed(error);
      }
      this.load();
    });
    return [soft(`${(numbers / 1e9).toLocaleString("en", { maximumFractionDigits: 1 })} billion numbers are not measured by themselves: it takes long, and the cores that the picture needs. What is found is kept in the run.`), button];
  }
}
