// The panel beside the cloud: finding tokens, groups, what is selected, and events.

import { Events } from "./events.js";
import { soft } from "./parts.js";
import { tokenId, tokenLabel } from "./run.js";
import { Story } from "./story.js";

const MOST_FOUND = 20;
const MOST_LISTED = 60;
const SHAPES = [
  '<circle cx="6" cy="6" r="5"/>', '<rect x="1.5" y="1.5" width="9" height="9"/>',
  '<path d="M6 1 11 10.5 1 10.5Z"/>', '<path d="M6 0.5 11.5 6 6 11.5 0.5 6Z"/>',
];

export class Tokens {
  #app;
  #story;

  constructor(app) {
    this.#app = app;
    this.#story = new Story(app, this);
    this.events = new Events(app);
    const search = document.getElementById("search");
    search.addEventListener("input", () => this.#find(search.value));
    document.getElementById("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      document.querySelector("#found button")?.click();
    });
  }

  get run() {
    return this.#app.runs[0];
  }

  // Groups with their marks; a click hides and shows one.
  legend() {
    const box = document.getElementById("legend");
    box.replaceChildren();
    for (const group of this.#app.panels[0].dressed[0].groups) {
      const button = document.createElement("button");
      button.type = "button";
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      mark.setAttribute("viewBox", "0 0 12 12");
      mark.setAttribute("aria-hidden", "true");
      mark.innerHTML = SHAPES[group.shape] ?? SHAPES[0];
      mark.setAttribute("fill", group.colour);
      const hidden = this.#app.hidden.has(group.name);
      button.setAttribute("aria-pressed", String(!hidden));
      button.title = hidden ? "Show" : "Hide";
      button.append(mark, `${group.name === "all" ? "tokens" : group.name} (${group.tokens.length.toLocaleString("en")})`);
      button.addEventListener("click", () => this.#app.hide(group.name));
      box.append(button);
    }
  }

  #find(text) {
    const list = document.getElementById("found");
    list.replaceChildren();
    const wanted = text === " " ? text : text.trim();
    if (!wanted) return;
    const { run } = this;
    const ranked = [];
    for (let token = 0; token < run.tokens; token += 1) {
      const label = tokenLabel(run, token);
      const id = String(tokenId(run, token));
      if (label === wanted || id === wanted) ranked.push([0, token]);
      else if (label.toLowerCase().startsWith(wanted.toLowerCase())) ranked.push([1, token]);
      else if (label.toLowerCase().includes(wanted.toLowerCase())) ranked.push([2, token]);
    }
    ranked.sort((a, b) => a[0] - b[0]);
    for (const [, token] of ranked.slice(0, MOST_FOUND)) list.append(this.item(token, (add) => this.#app.select([token], { add })));
    if (!ranked.length || ranked.length > MOST_FOUND) {
      const note = document.createElement("li");
      note.className = "soft";
      note.textContent = ranked.length ? `and ${(ranked.length - MOST_FOUND).toLocaleString("en")} more` : "No token has this text or id.";
      list.append(note);
    }
  }

  item(token, act, extra = "") {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${this.name(token)}${extra}`;
    // With Shift, also on the keyboard, one more is selected.
    button.addEventListener("click", (event) => act(event.shiftKey));
    item.append(button);
    return item;
  }

  name(token, run = this.run) {
    const [label, id] = [tokenLabel(run, token), String(tokenId(run, token))];
    return label === id ? `token ${id}` : `${label} · ${id}`;
  }

  // What a token is, in one line.
  words(token, run = this.run, place = 0) {
    const counts = run.meta.counts;
    const group = this.#app.panels[0].dressed[place]?.groups.filter((one) => one.tokens.includes(token)).map((one) => one.name) ?? [];
    const often = counts ? `, ${counts[token].toLocaleString("en")} times in the corpus` : "";
    return `${this.name(token, run)}${often}${group.length && group[0] !== "all" ? `, ${group.join(", ")}` : ""}`;
  }

  selection() {
    const box = document.getElementById("selection");
    const chosen = [...this.#app.state.selected];
    box.replaceChildren();
    if (!chosen.length) {
      box.append(soft("Click a token to see its story. Shift-click adds one; Box and Lasso take many."));
    } else if (chosen.length > 1) {
      const title = document.createElement("h2");
      title.textContent = `${chosen.length.toLocaleString("en")} tokens selected`;
      const list = document.createElement("ul");
      list.className = "near";
      for (const token of chosen.slice(0, MOST_LISTED)) list.append(this.item(token, (add) => this.#app.select([token], { add })));
      box.append(title, list);
      if (chosen.length > MOST_LISTED) box.append(soft(`and ${(chosen.length - MOST_LISTED).toLocaleString("en")} more`));
    }
    this.story();
  }

  // Told anew where the step or the selection is another.
  story() {
    return this.#story.tell();
  }
}
