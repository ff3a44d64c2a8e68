// Events of all runs, in the order of their steps, as a list that a keyboard reaches.

import { soft } from "./parts.js";
import { tokenLabel } from "./run.js";

const MOST = 400;
const MEANINGS = {
  birth: "a black hole forms", fission: "one comes apart", emission: "tokens leave one", fusion: "several become one",
  capture: "tokens fall into one", death: "all its tokens are free", freezing: "a token moves for the last time",
};

export class Events {
  #app;

  constructor(app) {
    this.#app = app;
    document.getElementById("event-kind").addEventListener("change", () => this.list());
  }

  list() {
    const { runs } = this.#app;
    const all = runs.flatMap((run) => run.charts.events.map((event) => ({ run, event }))).sort((a, b) => a.event.step - b.event.step);
    const kind = this.#kinds(all);
    const chosen = kind ? all.filter(({ event }) => event.kind === kind) : all;
    const list = document.getElementById("events");
    list.replaceChildren(...chosen.slice(0, MOST).map((one) => this.#item(one)));
    document.querySelector("#events-box summary").textContent = `Events (${all.length.toLocaleString("en")})`;
    document.getElementById("event-kind-label").hidden = !all.length;
    const left = Math.max(0, chosen.length - MOST);
    const lost = runs.reduce((count, run) => count + (run.charts.events_left_out ?? 0), 0);
    if (left + lost) list.append(soft(`${(left + lost).toLocaleString("en")} later ones are not listed here.`));
    else if (!all.length) list.append(soft(runs.some((run) => run.charts.measuring) ? "The runs are being measured." : "Nothing happened to black holes, and no token came to rest."));
  }

  // Offer the kinds that there are; returns the one that is wanted, or nothing for all.
  #kinds(all) {
    const box = document.getElementById("event-kind");
    const counts = new Map();
    for (const { event } of all) counts.set(event.kind, (counts.get(event.kind) ?? 0) + 1);
    const offered = [["", "all"], ...Object.keys(MEANINGS).filter((kind) => counts.has(kind))
      .map((kind) => [kind, `${kind} (${counts.get(kind).toLocaleString("en")}): ${MEANINGS[kind]}`])];
    const wanted = counts.has(box.value) ? box.value : "";
    if (box.dataset.offered !== JSON.stringify(offered)) {
      box.dataset.offered = JSON.stringify(offered);
      box.replaceChildren(...offered.map(([value, words]) => new Option(words, value)));
    }
    box.value = wanted;
    return wanted;
  }

  #item({ run, event }) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const sizes = event.before.length || event.after.length ? ` ${event.before.join(" + ") || "0"} → ${event.after.join(" + ") || "0"}` : "";
    const who = event.tokens.slice(0, 5).map((token) => tokenLabel(run, token)).join(" ");
    const more = event.tokens.length > 5 ? ` and ${event.tokens.length - 5} more` : "";
    const where = this.#app.runs.length > 1 ? ` (${run.short})` : "";
    button.textContent = `${event.step.toLocaleString("en")} ${event.kind}${sizes}: ${who}${more}${where}`;
    button.addEventListener("click", () => { this.#app.timeline.go(event.step); this.#app.select(run.inFirst(event.tokens)); });
    item.append(button);
    return item;
  }
}
